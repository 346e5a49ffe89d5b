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
from llm_compression.inference.taps import Taps, tap
from llm_compression.spec.block import NormPlacement


@dataclass(frozen=True, slots=True)
class Block:
    """Attention, then MLP, each with a residual; taps ``{name}.attn`` and ``{name}.mlp``."""

    name: str
    attn: Attention
    attn_norm: LayerNorm
    mlp: MLP
    mlp_norm: LayerNorm
    norm_placement: NormPlacement

    def __call__(
        self, x: torch.Tensor, mask: torch.Tensor | None, taps: Taps | None = None
    ) -> torch.Tensor:
        """(B, T, D) -> (B, T, D); ``mask`` (B, T) is true at real tokens."""
        run = self._pre if self.norm_placement is NormPlacement.PRE else self._post
        return tap(taps, self.name, run(x, mask, taps))

    def _pre(self, x: torch.Tensor, mask: torch.Tensor | None, taps: Taps | None) -> torch.Tensor:
        x = x + tap(taps, f"{self.name}.attn", self.attn(self.attn_norm(x), mask))
        return x + tap(taps, f"{self.name}.mlp", self.mlp(self.mlp_norm(x)))

    def _post(self, x: torch.Tensor, mask: torch.Tensor | None, taps: Taps | None) -> torch.Tensor:
        x = self.attn_norm(x + tap(taps, f"{self.name}.attn", self.attn(x, mask)))
        return self.mlp_norm(x + tap(taps, f"{self.name}.mlp", self.mlp(x)))
