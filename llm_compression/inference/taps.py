"""Taps: named intermediates that the core hands out when asked."""

import torch

from llm_compression.inference.sequences import Sequences

Taps = dict[str, torch.Tensor]


def tap(
    taps: Taps | None, name: str, value: torch.Tensor, sequences: Sequences | None = None
) -> torch.Tensor:
    """Keep ``value`` under ``name`` if taps are wanted; returns it either way.

    Rows (N, D) of ``sequences`` are kept as (B, T, D), with zeros behind the shorter ones.
    """
    if taps is not None:
        taps[name] = value if sequences is None else sequences.padded(value)
    return value
