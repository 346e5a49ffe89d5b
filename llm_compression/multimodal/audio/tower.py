"""AudioTower: two convolutions and positions in front of the core, a norm behind it."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from llm_compression.inference.bind import Tensors, bind_core, bind_norm
from llm_compression.inference.inference_core import Core
from llm_compression.inference.linear import Linear, LinearMap
from llm_compression.inference.norm import LayerNorm
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.taps import Taps, tap
from llm_compression.multimodal.audio.layout import AudioLayout
from llm_compression.spec.block import Activation
from llm_compression.spec.towers import AudioSpec

WIDTH = 3  # frames that a convolution sees


@dataclass(frozen=True, slots=True)
class Convolution:
    """Three frames wide, then GELU: a linear map of every window of frames."""

    linear: LinearMap  # of the in x 3 values of a window
    stride: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(B, S, in) -> (B, S / stride, D)."""
        edged = F.pad(x, (0, 0, 1, 1))
        windows = edged.unfold(1, WIDTH, self.stride)  # (B, S / stride, in, 3)
        rows = windows.flatten(2).flatten(0, 1)
        return self.linear(rows).view(len(x), windows.shape[1], -1)


@dataclass(frozen=True, slots=True)
class AudioTower:
    """Mel frames to hidden states; Radford et al. 2022, arXiv:2212.04356, section 2.2."""

    conv1: Convolution
    conv2: Convolution
    position: torch.Tensor  # (positions, D)
    core: Core
    final_norm: LayerNorm

    def __call__(
        self, frames: torch.Tensor, layout: AudioLayout | None = None, taps: Taps | None = None
    ) -> torch.Tensor:
        """(B, M, S) -> (B, S / 2, D), or (B, T, D) at the places of a ``layout``."""
        # transformers/models/whisper/modeling_whisper.py, WhisperEncoder.forward
        hidden = self.conv2(self.conv1(frames.transpose(1, 2)))  # (B, S / 2, D)
        scores = None
        if layout is None:
            hidden = hidden + self.position[: hidden.shape[1]]
        else:
            rows = torch.arange(len(hidden), device=hidden.device)[:, None]
            hidden = hidden[rows, layout.source] + self.position[layout.position]  # (B, T, D)
            scores = layout.scores.to(hidden.dtype)
        count, tokens = tap(taps, "embeddings", hidden).shape[:2]
        sequences = Sequences.dense(count, tokens, scores)
        hidden = self.core(hidden.flatten(0, 1), sequences, taps)
        return tap(taps, "final_norm", self.final_norm(hidden).view(count, tokens, -1))


def bind_audio_tower(tensors: Tensors, spec: AudioSpec) -> AudioTower:
    """The tower over checked tensors; shares their memory."""

    def convolution(name: str, stride: int) -> Convolution:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return Convolution(Linear(weight.flatten(1), bias, Activation.GELU), stride)

    return AudioTower(
        conv1=convolution("audio.conv1", 1),
        conv2=convolution("audio.conv2", 2),
        position=tensors["audio.embeddings.position"],
        core=bind_core(tensors, "audio", spec.block, spec.num_layers),
        final_norm=bind_norm(tensors, "audio.final_norm", spec.block.norm_eps),
    )
