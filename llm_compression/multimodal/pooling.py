"""Pooling: (B, T, D) hidden states to (B, D), padded positions left out."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from llm_compression.spec.model import Pooling


@dataclass(frozen=True, slots=True)
class PaddedTokens:
    """Ids (B, T), and the mask (B, T) that is true at real tokens, which stand first."""

    ids: torch.Tensor
    mask: torch.Tensor
    eos_token_id: int | None


Pool = Callable[[torch.Tensor, PaddedTokens], torch.Tensor]


def pool(pooling: Pooling, hidden: torch.Tensor, tokens: PaddedTokens) -> torch.Tensor:
    """(B, T, D) -> (B, D), in float32."""
    return _POOLS[pooling](hidden.float(), tokens)


def normalize(pooled: torch.Tensor) -> torch.Tensor:
    """(B, E) -> (B, E) of unit length; a zero vector stays zero."""
    return F.normalize(pooled, dim=-1)


def mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, T, D) -> (B, D): the mean of those that ``mask`` (B, T) is true at."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    return (hidden * weights).sum(1) / weights.sum(1)


def _mean(hidden: torch.Tensor, tokens: PaddedTokens) -> torch.Tensor:
    return mean(hidden, tokens.mask)


def _cls(hidden: torch.Tensor, _tokens: PaddedTokens) -> torch.Tensor:
    return hidden[:, 0]


def _max(hidden: torch.Tensor, tokens: PaddedTokens) -> torch.Tensor:
    return hidden.masked_fill(~tokens.mask.unsqueeze(-1), float("-inf")).amax(1)


def _last_token(hidden: torch.Tensor, tokens: PaddedTokens) -> torch.Tensor:
    return _at(hidden, tokens.mask.sum(1) - 1)


def _eos(hidden: torch.Tensor, tokens: PaddedTokens) -> torch.Tensor:
    # transformers/models/clip/modeling_clip.py, CLIPTextModel.forward: the first one counts,
    # as padding may have the same id.
    return _at(hidden, torch.eq(tokens.ids, tokens.eos_token_id or 0).int().argmax(1))


def _max_id(hidden: torch.Tensor, tokens: PaddedTokens) -> torch.Tensor:
    # The same place, the branch for eos_token_id == 2.
    return _at(hidden, tokens.ids.masked_fill(~tokens.mask, -1).argmax(1))


def _at(hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """(B, T, D) and (B,) -> (B, D)."""
    return hidden[torch.arange(len(hidden)), positions]


_POOLS: dict[Pooling, Pool] = {
    Pooling.MEAN: _mean,
    Pooling.CLS: _cls,
    Pooling.MAX: _max,
    Pooling.LAST_TOKEN: _last_token,
    Pooling.EOS: _eos,
    Pooling.MAX_ID: _max_id,
}
