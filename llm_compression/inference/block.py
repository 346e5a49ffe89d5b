"""One transformer block, with its norms before or after the sublayers.

pre                      post
x ─┬─ norm ─ attn ─ + ─▶   x ─┬─ attn ─ + ─ norm ─▶
   └────────────────┘         └─────────┘
"""

from dataclasses import dataclass

import torch

from llm_compression.inference.attention import Attention
from llm_compression.inference.mlp import MLP
from llm_compression.inference.norm import LayerNorm
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.taps import Taps, tap
from llm_compression.spec.block import NormPlacement


@dataclass(frozen=True, slots=True)
class Block:
    """Attention, then MLP; each adds its residual in the linear map that it ends with.

    The taps ``{name}.attn`` and ``{name}.mlp`` are the hidden states after each sublayer, so the
    latter is what the block gives out.
    """

    name: str
    attn: Attention
    attn_norm: LayerNorm
    mlp: MLP
    mlp_norm: LayerNorm
    norm_placement: NormPlacement

    def __call__(
        self,
        x: torch.Tensor,
        sequences: Sequences,
        taps: Taps | None = None,
        rows: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(N, D) -> (N, D), or (R, D) where so many ``rows`` are wanted, which have no taps."""
        if self.norm_placement is NormPlacement.PRE:
            x = self.attn(self.attn_norm(x), sequences, x, rows)
            tap(taps, f"{self.name}.attn", x, sequences)
            x = self.mlp(self.mlp_norm(x), x)
        else:
            x = self.attn_norm(self.attn(x, sequences, x, rows))
            tap(taps, f"{self.name}.attn", x, sequences)
            x = self.mlp_norm(self.mlp(x, x))
        return tap(taps, f"{self.name}.mlp", x, sequences)
