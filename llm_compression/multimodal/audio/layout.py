"""AudioLayout: which positions of a padded window the fast mode runs, and what each stands for.

Of the silence behind a sound the reference runs every position, 1,450 of 1,500 for one second, and
the sound attends to them all. They are all but alike, so here a few stand for the rest: one
position for each stretch of silence, with the logarithm of the stretch's length added to its
attention scores, so that it weighs as much as the stretch (proportional attention, Bolya et al.
2022, arXiv:2210.09461, eq. 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from llm_compression.inference.device import sent
from llm_compression.inference.kernels import EXACT

# docs/audio.md has the evidence for both. Vectors carry the mode's name alone: other numbers are
# another mode, with another name.
NEAR = 16  # positions behind a sound that are run one by one
FAR = 96  # stretches into which the rest of the window is cut


@dataclass(frozen=True, slots=True)
class AudioLayout:
    """For each of T places of each sound: what it takes in, where it stands, what it counts for.

    ``source`` (B, T) is a position of the convolutions' output, ``position`` (B, T) a row of the
    position table; ``scores`` (B, T) is added to every attention score of the place as a key,
    minus infinity where a shorter sound has no place.
    """

    source: torch.Tensor
    position: torch.Tensor
    scores: torch.Tensor

    def on(self, device: torch.device) -> "AudioLayout":
        """The same on a device."""
        return AudioLayout(
            sent(self.source, device), sent(self.position, device), sent(self.scores, device)
        )


def fast_layout(heard: Sequence[int], positions: int) -> AudioLayout:
    """The layout of sounds that so many of the window's ``positions`` hear."""
    rows = [_places(count, positions) for count in heard]
    longest = max(len(places) for places, _ in rows)
    source, position = torch.zeros(2, len(rows), longest, dtype=torch.int64, device="cpu")
    scores = torch.full((len(rows), longest), float("-inf"), **EXACT)
    for row, (count, (places, stretches)) in enumerate(zip(heard, rows, strict=True)):
        position[row, : len(places)] = places
        # the first position behind the near ones takes in silence alone, like all after it but
        # the last, where the reference's convolutions reach over the window's edge
        source[row, : len(places)] = places.clamp(max=min(count + NEAR, positions - 1))
        scores[row, : len(places)] = stretches.log()
    return AudioLayout(source, position, scores)


def convolved(heard: Sequence[int], positions: int) -> int:
    """How many positions of the convolutions' output the layout needs, not the last one's edge."""
    return min(max(heard) + NEAR + 2, positions)


def _places(heard: int, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The places of one sound (T,), each in the middle of its stretch, and the stretches (T,)."""
    near = min(heard + NEAR, positions)
    stretches = min(FAR, positions - near)
    edges = torch.linspace(near, positions, stretches + 1, **EXACT).round().long()
    middles = (edges[:-1] + edges[1:] - 1) // 2
    places = torch.cat([torch.arange(near, device="cpu"), middles])
    return places, torch.cat([torch.ones(near, **EXACT), edges.diff().float()])
