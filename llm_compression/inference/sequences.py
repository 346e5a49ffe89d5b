"""Sequences: how rows of hidden states divide into sequences, none of them padded."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import torch


@dataclass(frozen=True, slots=True)
class Group:
    """``count`` sequences of ``tokens`` tokens each, one after another."""

    count: int
    tokens: int

    @property
    def rows(self) -> int:
        """Rows of hidden states that the group takes."""
        return self.count * self.tokens


@dataclass(frozen=True, slots=True)
class Sequences:
    """The sequences of N rows in order, those of equal length that stand together as one group.

    ``scores`` (B, T), where there is one group alone, is added to every attention score of its
    key.
    """

    groups: tuple[Group, ...]
    scores: torch.Tensor | None = None

    @classmethod
    def dense(cls, count: int, tokens: int, scores: torch.Tensor | None = None) -> "Sequences":
        """``count`` sequences that all have so many ``tokens``."""
        return cls((Group(count, tokens),), scores)

    @classmethod
    def of(cls, lengths: Iterable[int]) -> "Sequences":
        """Sequences of these lengths; sorted ones make the fewest groups."""
        return cls(tuple(Group(len(list(run)), tokens) for tokens, run in groupby(lengths)))

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return [group.tokens for group in self.groups for _ in range(group.count)]

    def positions(self, device: torch.device) -> torch.Tensor:
        """Where in its sequence each row stands, from 0: (N,)."""
        return _joined([torch.arange(g.tokens, device=device).repeat(g.count) for g in self.groups])

    def counted(self, real: torch.Tensor) -> torch.Tensor:
        """How many of a sequence's rows up to each, itself included, are ``real``: (N,) of (N,)."""
        return _joined([part.cumsum(1).flatten() for part in self.grouped(real)])

    def grouped(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """(N, ...) -> for each group (n, T, ...), views of it."""
        if len(self.groups) == 1:  # the usual case, in a third of the time
            return [rows.view(self.groups[0].count, self.groups[0].tokens, *rows.shape[1:])]
        parts = torch.split(rows, [group.rows for group in self.groups])
        pairs = zip(self.groups, parts, strict=True)
        return [part.view(g.count, g.tokens, *part.shape[1:]) for g, part in pairs]

    def split(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(N, ...) -> for each sequence (T, ...), views of it."""
        return torch.split(rows, self.lengths)

    def padded(self, rows: torch.Tensor) -> torch.Tensor:
        """(N, D) -> (B, T, D) with T the longest and zeros behind the shorter ones."""
        if len(self.groups) == 1:
            return self.grouped(rows)[0]
        return torch.nn.utils.rnn.pad_sequence(list(self.split(rows)), batch_first=True)


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
