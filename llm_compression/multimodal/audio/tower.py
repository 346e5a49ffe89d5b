"""AudioTower: two convolutions and positions in front of the core, a norm behind it."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from llm_compression.inference.bind import Tensors, bind_core, bind_norm
from llm_compression.inference.inference_core import InferenceCore
from llm_compression.inference.norm import LayerNorm
from llm_compression.inference.taps import Taps, tap
from llm_compression.multimodal.audio.layout import AudioLayout
from llm_compression.spec.towers import AudioSpec


@dataclass(frozen=True, slots=True)
class Convolution:
    """Three frames wide, then GELU."""

    weight: torch.Tensor  # (D, in, 3)
    bias: torch.Tensor
    stride: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in, S) -> (B, D, S / stride)."""
        return F.gelu(F.conv1d(x, self.weight, self.bias, stride=self.stride, padding=1))


@dataclass(frozen=True, slots=True)
class AudioTower:
    """Mel frames to hidden states; Radford et al. 2022, arXiv:2212.04356, section 2.2."""

    conv1: Convolution
    conv2: Convolution
    position: torch.Tensor  # (positions, D)
    core: InferenceCore
    final_norm: LayerNorm

    def __call__(
        self, frames: torch.Tensor, layout: AudioLayout | None = None, taps: Taps | None = None
    ) -> torch.Tensor:
        """(B, M, S) -> (B, S / 2, D), or (B, T, D) at the places of a ``layout``."""
        # transformers/models/whisper/modeling_whisper.py, WhisperEncoder.forward
        hidden = self.conv2(self.conv1(frames)).transpose(1, 2)  # (B, S / 2, D)
        scores = None
        if layout is None:
            hidden = hidden + self.position[: hidden.shape[1]]
        else:
            rows = torch.arange(len(hidden))[:, None]
            hidden = hidden[rows, layout.source] + self.position[layout.position]  # (B, T, D)
            scores = layout.scores.to(hidden.dtype)
        hidden = self.core(tap(taps, "embeddings", hidden), scores, taps)
        return tap(taps, "final_norm", self.final_norm(hidden))


def bind_audio_tower(tensors: Tensors, spec: AudioSpec) -> AudioTower:
    """The tower over checked tensors; shares their memory."""

    def convolution(name: str, stride: int) -> Convolution:
        return Convolution(tensors[f"{name}.weight"], tensors[f"{name}.bias"], stride)

    return AudioTower(
        conv1=convolution("audio.conv1", 1),
        conv2=convolution("audio.conv2", 2),
        position=tensors["audio.embeddings.position"],
        core=bind_core(tensors, "audio", spec.block, spec.num_layers),
        final_norm=bind_norm(tensors, "audio.final_norm", spec.block.norm_eps),
    )
