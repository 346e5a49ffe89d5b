"""Pooling: (B, T, D) hidden states to (B, D), padded positions left out."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from llm_compression.spec.model import Pooling

Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def pool(pooling: Pooling, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, T, D) -> (B, D); ``mask`` (B, T) is true at real tokens, which stand first."""
    return _POOLS[pooling](hidden, mask)


def normalize(pooled: torch.Tensor) -> torch.Tensor:
    """(B, E) -> (B, E) of unit length; a zero vector stays zero."""
    return F.normalize(pooled, dim=-1)


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    return (hidden * weights).sum(1) / weights.sum(1)


def _cls(hidden: torch.Tensor, _mask: torch.Tensor) -> torch.Tensor:
    return hidden[:, 0]


def _max(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(1)


def _last_token(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    last = mask.sum(1) - 1  # (B,)
    return hidden[torch.arange(len(hidden)), last]


_POOLS: dict[Pooling, Pool] = {
    Pooling.MEAN: _mean,
    Pooling.CLS: _cls,
    Pooling.MAX: _max,
    Pooling.LAST_TOKEN: _last_token,
}
