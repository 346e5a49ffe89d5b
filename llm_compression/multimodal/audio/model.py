"""AudioModel: tower and pooling; one batch of mel frames to embeddings."""

from collections.abc import Sequence

import numpy as np
import torch

from llm_compression.errors import InputError
from llm_compression.inference.bind import Tensors, check_tensors
from llm_compression.inference.compute import Compute
from llm_compression.inference.device import sent
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.taps import Taps
from llm_compression.multimodal.audio.layout import FAR, NEAR, convolved, fast_layout
from llm_compression.multimodal.audio.mel import padded
from llm_compression.multimodal.audio.tower import AudioTower, bind_audio_tower
from llm_compression.multimodal.encoded import Encoded
from llm_compression.multimodal.head import Head, bind_head
from llm_compression.multimodal.pooling import mean_of_first
from llm_compression.once import Once
from llm_compression.spec.model import ModelSpec
from llm_compression.spec.sound import SoundSpec
from llm_compression.spec.tensors import audio_tensors
from llm_compression.spec.towers import AudioSpec


class AudioModel:
    """Runs one batch at a time.

    Args:
        spec: the model.
        tensors: those of the audio tower under canonical names, all of them and no other.
        compute: in which type, on which form of the weights; they are prepared on first use.

    Raises:
        InputError: the model has no audio tower.
        BindError: tensors and spec do not fit each other.
    """

    def __init__(self, spec: ModelSpec, tensors: Tensors, compute: Compute) -> None:
        self.spec, self.sound = audio_parts(spec)
        check_tensors(tensors, audio_tensors(self.spec))
        self._compute = compute
        self._parts = Once(lambda: compute.prepared(self._bind, tensors))

    def _bind(self, tensors: Tensors) -> tuple[AudioTower, Head]:
        return bind_audio_tower(tensors, self.spec), bind_head(tensors, "audio", None)

    def __call__(
        self,
        windows: Sequence[np.ndarray],
        heard: Sequence[int],
        *,
        fast: bool,
        normalized: bool,
        taps: Taps | None = None,
    ) -> Encoded:
        """Run a batch of windows, each (M, S) mel frames of which so many positions are ``heard``.

        The mean is over those. Every position of the tower is run, as the reference does, or,
        if ``fast``, those of `fast_layout`. ``taps``, if given, gains ``embeddings``, those of
        the core, ``final_norm``, ``pooled`` and ``embedding``.
        """
        positions = self.spec.max_source_positions
        run = convolved(heard, positions) if fast else positions
        frames = torch.from_numpy(np.stack([padded(w, 2 * run) for w in windows]))
        device, dtype = self._compute.device, self._compute.dtype
        with self._compute.mode():
            layout = fast_layout(heard, positions).on(device) if fast else None
            tower, head = self._parts()
            hidden = tower(sent(frames, device).to(dtype), layout, taps)  # (B, P, D)
            pooled = mean_of_first(hidden.float(), sent(torch.tensor(heard, device="cpu"), device))
            pooled, embedding = head(pooled, normalized=normalized, taps=taps)
            sequences = Sequences.dense(*hidden.shape[:2])
            return Encoded(hidden.flatten(0, 1), sequences, pooled, embedding)

    def positions(self, heard: int, *, fast: bool) -> int:
        """How many positions are run for a window of which so many are ``heard``, at most."""
        most = self.spec.max_source_positions
        return min(heard + NEAR + FAR, most) if fast else most


def audio_parts(spec: ModelSpec) -> tuple[AudioSpec, SoundSpec]:
    """What a spec says of sounds.

    Raises:
        InputError: the model has no audio tower.
    """
    if spec.audio is None or spec.sound is None:
        raise InputError(
            "the model has no audio tower; convert a Whisper checkpoint to embed sounds"
        )
    return spec.audio, spec.sound
