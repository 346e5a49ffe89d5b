"""Encoded: what a tower makes of one batch."""

from dataclasses import dataclass

import torch

from llm_compression.inference.sequences import Sequences


@dataclass(frozen=True, slots=True)
class Encoded:
    """The last hidden states of ``sequences``, and what became of them.

    Where only pooled states were wanted, and pooling takes one of each, each sequence is that one.
    """

    hidden: torch.Tensor  # (N, D), in the type that the core computes in
    sequences: Sequences
    pooled: torch.Tensor  # (B, D), float32
    embedding: torch.Tensor  # (B, E), float32
