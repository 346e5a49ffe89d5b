"""LazyCore: a compiled core whose weights are packed when a pass is large enough to be worth it."""

from collections.abc import Callable

import torch

from llm_compression.guard import Guard
from llm_compression.inference.inference_core import InferenceCore
from llm_compression.inference.native_core import FEW, as_stored, pack
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.taps import Taps
from llm_compression.native.library import Kind, Library

_MANY = 16  # short passes, after which packing would have been worth it


class LazyCore:
    """A `NativeCore` in float32.

    The first short texts are run on the weights as they are stored, bit for bit as on packed ones:
    who opens a model for one of them neither waits for a second copy nor holds it.

    Args:
        core: its linear maps are plain.
        of: the library.
        release: as `native_core.pack` takes it.
    """

    def __init__(self, core: InferenceCore, of: Library, release: Callable[[], None]) -> None:
        self._guard = Guard()
        self._plain: InferenceCore | None = core  # until it is packed
        self._core = as_stored(core, of)
        self._library, self._release = of, release
        self._passes = 0

    def __call__(
        self,
        hidden: torch.Tensor,
        sequences: Sequences,
        taps: Taps | None = None,
        rows: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As `NativeCore` does it."""
        most = max(len(hidden), 0 if rows is None else len(rows))
        self._passes += 1
        if self._plain is not None and (most > FEW or self._passes > _MANY):
            self._pack()
        return self._core(hidden, sequences, taps, rows)

    def _pack(self) -> None:
        with self._guard.lock:
            if self._plain is not None:  # another thread may have been first
                self._core = pack(self._plain, Kind.FLOAT32, self._library, self._release)
                self._plain = None
