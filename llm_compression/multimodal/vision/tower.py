"""VisionTower: patches, a class token and positions in front of the core, norms around it."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from llm_compression.inference.bind import Tensors, bind_core, bind_norm
from llm_compression.inference.inference_core import InferenceCore
from llm_compression.inference.norm import LayerNorm
from llm_compression.inference.taps import Taps, tap
from llm_compression.spec.towers import VisionSpec


@dataclass(frozen=True, slots=True)
class VisionTower:
    """Pixels to hidden states; Radford et al. 2021, arXiv:2103.00020, section 2.4."""

    class_token: torch.Tensor  # (D,)
    patch: torch.Tensor  # (D, C, p, p)
    position: torch.Tensor  # (P + 1, D), the class token's first
    pre_norm: LayerNorm
    core: InferenceCore
    post_norm: LayerNorm

    def __call__(self, pixels: torch.Tensor, taps: Taps | None = None) -> torch.Tensor:
        """(B, C, S, S) -> (B, P + 1, D), the class token first."""
        embedded = tap(taps, "embeddings", self._embed(pixels))
        return self.core(tap(taps, "pre_norm", self.pre_norm(embedded)), None, taps)

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, P + 1, D) -> (B, D): the class token, normed."""
        return self.post_norm(hidden[:, 0])

    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        # transformers/models/clip/modeling_clip.py, CLIPVisionEmbeddings.forward
        patches = F.conv2d(pixels, self.patch, stride=self.patch.shape[-1])  # (B, D, p', p')
        patches = patches.flatten(2).transpose(1, 2)  # (B, P, D)
        first = self.class_token.expand(len(patches), 1, -1)
        return torch.cat([first, patches], dim=1) + self.position


def bind_vision_tower(tensors: Tensors, spec: VisionSpec) -> VisionTower:
    """The tower over checked tensors; shares their memory."""
    eps = spec.block.norm_eps
    return VisionTower(
        class_token=tensors["vision.embeddings.class"],
        patch=tensors["vision.embeddings.patch.weight"],
        position=tensors["vision.embeddings.position"],
        pre_norm=bind_norm(tensors, "vision.pre_norm", eps),
        core=bind_core(tensors, "vision", spec.block, spec.num_layers),
        post_norm=bind_norm(tensors, "vision.post_norm", eps),
    )
