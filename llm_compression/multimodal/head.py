"""Head: from a tower's pooled states to its embedding, the same for every modality."""

from dataclasses import dataclass

import torch

from llm_compression.inference.bind import Tensors, bind_linear
from llm_compression.inference.linear import LinearMap
from llm_compression.inference.taps import Taps, tap
from llm_compression.multimodal.pooling import normalize


@dataclass(frozen=True, slots=True)
class Head:
    """A projection where the model has one, and unit length where it is wanted."""

    projection: LinearMap | None
    dtype: torch.dtype  # that the projection takes

    def __call__(
        self, pooled: torch.Tensor, *, normalized: bool, taps: Taps | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, D) -> pooled (B, D) and embedding (B, E), both float32 and both tapped."""
        pooled = tap(taps, "pooled", pooled.float())
        embedding = self._project(pooled)
        return pooled, tap(taps, "embedding", normalize(embedding) if normalized else embedding)

    def _project(self, pooled: torch.Tensor) -> torch.Tensor:
        if self.projection is None:
            return pooled
        return self.projection(pooled.to(self.dtype)).float()


def bind_head(tensors: Tensors, tower: str, projection_dim: int | None) -> Head:
    """The head over checked tensors; shares their memory."""
    if projection_dim is None:
        return Head(None, torch.float32)
    projection = bind_linear(tensors, f"{tower}.projection")
    return Head(projection, projection.weight.dtype)
