"""Taps: named intermediates that the core hands out when asked."""

import torch

Taps = dict[str, torch.Tensor]


def tap(taps: Taps | None, name: str, value: torch.Tensor) -> torch.Tensor:
    """Keep ``value`` under ``name`` if taps are wanted; returns it either way."""
    if taps is not None:
        taps[name] = value
    return value
