"""Pooling: the hidden states of each sequence to one vector."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from llm_compression.inference.sequences import Sequences
from llm_compression.spec.model import Pooling

Pool = Callable[[torch.Tensor, torch.Tensor, int | None], torch.Tensor]


def pool(
    pooling: Pooling,
    hidden: torch.Tensor,
    ids: torch.Tensor,
    sequences: Sequences,
    eos_token_id: int | None,
) -> torch.Tensor:
    """Rows (N, D) and their token ids (N,) -> (B, D), in float32."""
    parts = zip(sequences.grouped(hidden), sequences.grouped(ids), strict=True)
    return torch.cat([_POOLS[pooling](h.float(), i, eos_token_id) for h, i in parts])


def pooled_rows(
    pooling: Pooling, ids: torch.Tensor, sequences: Sequences, eos_token_id: int | None
) -> torch.Tensor | None:
    """Which of N rows pooling takes, (B,), where it takes one of each sequence; else None."""
    if pooling in (Pooling.MEAN, Pooling.MAX):
        return None
    rows = torch.arange(len(ids), device=ids.device)[:, None]  # each row's "state" is its number
    parts = zip(sequences.grouped(rows), sequences.grouped(ids), strict=True)
    return torch.cat([_POOLS[pooling](r, i, eos_token_id).flatten() for r, i in parts])


def normalize(pooled: torch.Tensor) -> torch.Tensor:
    """(B, E) -> (B, E) of unit length; a zero vector stays zero."""
    return F.normalize(pooled, dim=-1)


def mean_of_first(hidden: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """(B, T, D) -> (B, D): the mean of as many of the first T as ``counts`` (B,) says."""
    first = torch.arange(hidden.shape[1], device=hidden.device) < counts[:, None]
    weights = first.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    return (hidden * weights).sum(1) / weights.sum(1)


# Each takes states (n, T, D) and ids (n, T) of sequences of one length.
def _mean(hidden: torch.Tensor, _ids: torch.Tensor, _eos: int | None) -> torch.Tensor:
    return hidden.mean(1)


def _cls(hidden: torch.Tensor, _ids: torch.Tensor, _eos: int | None) -> torch.Tensor:
    return hidden[:, 0]


def _max(hidden: torch.Tensor, _ids: torch.Tensor, _eos: int | None) -> torch.Tensor:
    return hidden.amax(1)


def _last_token(hidden: torch.Tensor, _ids: torch.Tensor, _eos: int | None) -> torch.Tensor:
    return hidden[:, -1]


def _eos(hidden: torch.Tensor, ids: torch.Tensor, eos_token_id: int | None) -> torch.Tensor:
    # transformers/models/clip/modeling_clip.py, CLIPTextModel.forward: the first one counts,
    # as padding may have the same id.
    return _at(hidden, torch.eq(ids, eos_token_id or 0).int().argmax(1))


def _max_id(hidden: torch.Tensor, ids: torch.Tensor, _eos: int | None) -> torch.Tensor:
    # The same place, the branch for eos_token_id == 2.
    return _at(hidden, ids.argmax(1))


def _at(hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """(n, T, D) and (n,) -> (n, D)."""
    return hidden[torch.arange(len(hidden), device=hidden.device), positions]


_POOLS: dict[Pooling, Pool] = {
    Pooling.MEAN: _mean,
    Pooling.CLS: _cls,
    Pooling.MAX: _max,
    Pooling.LAST_TOKEN: _last_token,
    Pooling.EOS: _eos,
    Pooling.MAX_ID: _max_id,
}
