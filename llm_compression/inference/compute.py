"""Compute: in which type, where, on which form of its weights, for gradients or not."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch

from llm_compression.cores import cores
from llm_compression.inference import kernels, trial
from llm_compression.inference.bind import Tensors
from llm_compression.inference.device import sent
from llm_compression.inference.int8 import to_int8
from llm_compression.inference.linear import Linear, LinearMap
from llm_compression.inference.packing import Packer, pack_linear
from llm_compression.inference.products import as_asked
from llm_compression.native.library import Kind
from llm_compression.weights.readonly import writable

M = TypeVar("M")
CPU = torch.device("cpu")
_BLOCK = (32 << 20) - 8192  # bytes, just below the most that glibc lets the threshold follow


@dataclass(frozen=True)
class Compute:
    """How a model computes.

    Args:
        name: the ``compute_dtype``: ``float32``, ``bfloat16``, ``float16`` or ``int8``.
        packed: on the CPU, copy weights into the order in which the processor reads them, where it
            has kernels for that; otherwise those that have the type already are used in place. In
            int8 the weights of blocks are copies either way.
        gradients: compute with the tensors themselves, by operators that gradients flow through.
        release: called whenever weights have been copied, so that their source can let memory go.
        device: where all is computed; weights are copied to another one than the CPU, and what
            runs there are plain operators. What goes in and comes out is `sent` and `fetched`.
    """

    name: str = "float32"
    packed: bool = True
    gradients: bool = False
    release: Callable[[], None] = lambda: None
    device: torch.device = CPU

    @property
    def dtype(self) -> torch.dtype:
        """The type of hidden states; int8 is that of products alone."""
        dtype: torch.dtype = getattr(torch, "float32" if self.name == "int8" else self.name)
        return dtype

    def mode(self) -> AbstractContextManager[object]:
        """The context in which a model runs.

        A caller's autocast and torch's switches of precision count for gradients alone.
        """
        return nullcontext() if self.gradients else _inference(self.device.type)

    def prepared(self, bind: Callable[[Tensors], M], tensors: Tensors) -> M:
        """What ``bind`` makes of ``tensors``, ready to run."""
        _fit_threads()
        _keep_freed_memory()
        with self.mode():
            if self.device != CPU:
                return bind(self._copied(tensors))
            module = bind(cast(tensors, self.dtype))
            if self.gradients:
                return module
            kind = Kind.__members__.get(self.name.upper())
            if kind is Kind.INT8:
                towers = _packed_if_can if self.packed else _as_it_is
                return Packer(to_int8, towers, self.release, rounded=True, native=kind)(module)
            if self.packed and (_is_native(kind) or kernels.can_pack(self.dtype)):
                return Packer(_packed_if_can, _packed_if_can, self.release, native=kind)(module)
            return module

    def _copied(self, tensors: Tensors) -> dict[str, torch.Tensor]:
        """``tensors`` on the device, sent as they are stored and made ``dtype`` there."""
        found = {n: sent(writable(t), self.device).to(self.dtype) for n, t in tensors.items()}
        if self.device.type == "cuda":  # another thread may run them on a stream of its own
            torch.cuda.synchronize(self.device)
        self.release()
        return found


def cast(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors in ``dtype``; those that have it already are shared, not copied."""
    return {name: writable(tensor).to(dtype) for name, tensor in tensors.items()}


@contextmanager
def _inference(device: str) -> Iterator[None]:
    with torch.inference_mode(), as_asked(device):
        yield


def _as_it_is(linear: Linear) -> LinearMap:
    return linear


def _packed_if_can(linear: Linear) -> LinearMap:
    return pack_linear(linear) if kernels.can_pack(linear.weight.dtype) else linear


def _is_native(kind: Kind | None) -> bool:
    return kind is not None and trial.usable(kind) is not None


def _fit_threads() -> None:
    """No more threads of torch than cores: it does not see the quota of a container.

    More would wait for each other at every operator. Fewer, as a user has set them, stay.
    """
    if torch.get_num_threads() > cores():
        torch.set_num_threads(cores())


def _keep_freed_memory() -> None:
    """Let the process keep memory of up to 64 MiB that it has freed, for the next operator.

    glibc gives larger blocks back to the system at once, and then every run has all its hidden
    states faulted in page by page, a tenth to a quarter of its time. What is large follows the
    largest mapped block that was freed (mallopt(3), M_MMAP_THRESHOLD), so one is, untouched.
    """
    torch.empty(_BLOCK, dtype=torch.uint8, device="cpu")
