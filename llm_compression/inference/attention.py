"""Multi-head self-attention."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from llm_compression.inference.linear import Linear


@dataclass(frozen=True, slots=True)
class Attention:
    """softmax(Q Kᵀ / √d) V over H heads; Vaswani et al. 2017, arXiv:1706.03762, eq. 1."""

    q: Linear
    k: Linear
    v: Linear
    o: Linear
    num_heads: int
    causal: bool

    def __call__(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T, D) -> (B, T, D).

        ``mask`` (B, T) is true at real tokens, None if all are; a floating one is added to every
        score of its key.
        """
        q, k, v = (self._heads(linear(x)) for linear in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(  # (B, H, T, d)
            q, k, v, attn_mask=self._seen(mask), is_causal=self.causal and mask is None
        )
        return self.o(mixed.transpose(1, 2).flatten(2))  # (B, T, D)

    def _seen(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """Which keys each query sees, for all heads; None where no mask need be made."""
        if mask is None:
            return None
        keys = mask[:, None, None, :]  # (B, 1, 1, T)
        if not self.causal:
            return keys
        tokens = mask.shape[1]
        return keys & torch.ones(tokens, tokens, dtype=torch.bool).tril()  # (B, 1, T, T)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        heads = x.view(batch, tokens, self.num_heads, width // self.num_heads)
        return heads.transpose(1, 2)  # (B, H, T, d)
