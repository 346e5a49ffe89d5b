"""One transformer block, with its norms before or after the sublayers.

pre                      post
x ─┬─ norm ─ attn ─ + ─▶   x ─┬─ attn ─ + ─ norm ─▶
   └────────────────┘         └─────────┘
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from llm_compression.inference.attention import Attention
from llm_compression.inference.mlp import MLP
from llm_compression.inference.norm import LayerNorm
from llm_compression.inference.taps import Taps, tap
from llm_compression.spec.block import NormPlacement

Transform = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Block:
    """Attention, then MLP, each with a residual.

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
        self, x: torch.Tensor, mask: torch.Tensor | None, taps: Taps | None = None
    ) -> torch.Tensor:
        """(B, T, D) -> (B, T, D); ``mask`` (B, T) is true at real tokens."""
        sublayer = self._pre if self.norm_placement is NormPlacement.PRE else self._post
        x = sublayer(x, self.attn_norm, lambda y: self.attn(y, mask))
        x = sublayer(tap(taps, f"{self.name}.attn", x), self.mlp_norm, self.mlp)
        return tap(taps, f"{self.name}.mlp", x)

    @staticmethod
    def _pre(x: torch.Tensor, norm: LayerNorm, transform: Transform) -> torch.Tensor:
        return x + transform(norm(x))

    @staticmethod
    def _post(x: torch.Tensor, norm: LayerNorm, transform: Transform) -> torch.Tensor:
        return norm(x + transform(x))
