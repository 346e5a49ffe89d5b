"""InferenceCore: the one transformer, a stack of blocks with named taps."""

from dataclasses import dataclass
from typing import Protocol

import torch

from llm_compression.inference.block import Block
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.taps import Taps


class Core(Protocol):
    """What a tower runs, whatever the blocks have been packed into."""

    def __call__(
        self,
        hidden: torch.Tensor,
        sequences: Sequences,
        taps: Taps | None = None,
        rows: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As `InferenceCore` does it."""
        ...


@dataclass(frozen=True, slots=True)
class InferenceCore:
    """Depth x block. A tower feeds it hidden states and reads hidden states back."""

    blocks: tuple[Block, ...]

    def __call__(
        self,
        hidden: torch.Tensor,
        sequences: Sequences,
        taps: Taps | None = None,
        rows: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(N, D) -> (N, D), the rows of ``sequences`` one after another; (R, D) for ``rows`` (R,).

        Those are the last states that are wanted, so that the last block does no more.

        ``taps``, if given, gains ``block.00.attn``, ``block.00.mlp`` and so on: the hidden states
        after each sublayer.
        """
        *before, last = self.blocks
        for block in before:
            hidden = block(hidden, sequences, taps)
        return last(hidden, sequences, taps, rows)
