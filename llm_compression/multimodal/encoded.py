"""Encoded: what a tower makes of one batch."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Encoded:
    """Hidden states, and what became of them; float32 but for the mask, true at real tokens."""

    sequence: torch.Tensor  # (B, T, D)
    mask: torch.Tensor  # (B, T)
    pooled: torch.Tensor  # (B, D)
    embedding: torch.Tensor  # (B, E)
