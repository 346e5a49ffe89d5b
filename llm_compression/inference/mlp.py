"""The two-layer MLP of a block."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from llm_compression.inference.linear import Linear


@dataclass(frozen=True, slots=True)
class MLP:
    """``down(activation(up(x)))``."""

    up: Linear
    down: Linear
    activation: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.down(self.activation(self.up(x)))
