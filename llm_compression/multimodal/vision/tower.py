"""VisionTower: patches, a class token and positions in front of the core, norms around it."""

from dataclasses import dataclass

import torch

from llm_compression.inference.bind import Tensors, bind_core, bind_norm
from llm_compression.inference.inference_core import Core
from llm_compression.inference.linear import Linear, LinearMap
from llm_compression.inference.norm import LayerNorm
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.taps import Taps, tap
from llm_compression.spec.towers import VisionSpec


@dataclass(frozen=True, slots=True)
class VisionTower:
    """Pixels to hidden states; Radford et al. 2021, arXiv:2103.00020, section 2.4."""

    class_token: torch.Tensor  # (D,)
    patch: LinearMap  # of the C p p values of a patch
    patch_size: int
    position: torch.Tensor  # (P + 1, D), the class token's first
    pre_norm: LayerNorm
    core: Core
    post_norm: LayerNorm

    def __call__(
        self, pixels: torch.Tensor, taps: Taps | None = None, *, whole: bool = True
    ) -> torch.Tensor:
        """(B, C, S, S) -> (B, P + 1, D), the class token first, or if not ``whole`` alone."""
        embedded = tap(taps, "embeddings", self._embed(pixels))
        hidden = tap(taps, "pre_norm", self.pre_norm(embedded)).flatten(0, 1)  # (B (P + 1), D)
        count, tokens = embedded.shape[:2]
        rows = None if whole else torch.arange(count, device=hidden.device) * tokens
        hidden = self.core(hidden, Sequences.dense(count, tokens), taps, rows)
        return hidden.view(count, -1, hidden.shape[-1])

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, P + 1, D) -> (B, D): the class token, normed."""
        return self.post_norm(hidden[:, 0])

    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        # transformers/models/clip/modeling_clip.py, CLIPVisionEmbeddings.forward, whose
        # convolution takes each patch once, so it is a linear map of patches.
        patches = self.patch(self._patches(pixels)).view(len(pixels), -1, len(self.class_token))
        first = self.class_token.expand(len(patches), 1, -1)
        return torch.cat([first, patches], dim=1) + self.position  # (B, P + 1, D)

    def _patches(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, C, S, S) -> (B P, C p p), a row for each patch."""
        batch, channels, side, _ = pixels.shape
        size, across = self.patch_size, side // self.patch_size
        # A side that is no multiple of the patch loses its rest, as it does to a convolution.
        whole = pixels[..., : across * size, : across * size]
        cut = whole.reshape(batch, channels, across, size, across, size)
        rows = cut.permute(0, 2, 4, 1, 3, 5)  # (B, p', p', C, p, p)
        return rows.reshape(batch * across * across, -1)


def bind_vision_tower(tensors: Tensors, spec: VisionSpec) -> VisionTower:
    """The tower over checked tensors; shares their memory."""
    eps = spec.block.norm_eps
    return VisionTower(
        class_token=tensors["vision.embeddings.class"],
        patch=Linear(tensors["vision.embeddings.patch.weight"].flatten(1), None),
        patch_size=spec.patch_size,
        position=tensors["vision.embeddings.position"],
        pre_norm=bind_norm(tensors, "vision.pre_norm", eps),
        core=bind_core(tensors, "vision", spec.block, spec.num_layers),
        post_norm=bind_norm(tensors, "vision.post_norm", eps),
    )
