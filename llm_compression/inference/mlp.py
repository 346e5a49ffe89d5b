"""The two-layer MLP of a block."""

from dataclasses import dataclass

import torch

from llm_compression.inference.linear import LinearMap


@dataclass(frozen=True, slots=True)
class MLP:
    """``down(up(x))``, where ``up`` ends in the activation."""

    up: LinearMap
    down: LinearMap

    def __call__(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """(N, D) -> (N, D), ``residual`` (N, D) added."""
        return self.down(self.up(x), residual)
