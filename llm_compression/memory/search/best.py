"""Best: the highest scores of many queries, gathered block by block."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Best:
    """For each of m queries the k best rows so far, best first, of equal ones the first seen.

    Attributes:
        scores: (m, k) float32; ``-inf`` where fewer have come.
        rows: (m, k) int64; -1 where fewer have come.
    """

    scores: np.ndarray
    rows: np.ndarray

    @classmethod
    def none(cls, queries: int, k: int) -> "Best":
        """Before any row has come."""
        return cls(np.full((queries, k), -np.inf, np.float32), np.full((queries, k), -1, np.int64))

    def of(self, query: int) -> "Best":
        """That of one query, a view."""
        return Best(self.scores[query : query + 1], self.rows[query : query + 1])

    def offer(self, scores: np.ndarray, rows: np.ndarray | range) -> None:
        """Take in scores (m, b) of ``rows``, in their order; ``-inf`` is no row."""
        above = np.flatnonzero(scores > self._floor(scores))
        query, column = np.divmod(above, scores.shape[1])
        starts = np.searchsorted(query, np.arange(len(scores) + 1))
        for i in np.unique(query):
            found = column[starts[i] : starts[i + 1]]
            numbers = found + rows.start if isinstance(rows, range) else rows[found]
            self.merge(int(i), scores[i, found], numbers)

    def merge(self, query: int, scores: np.ndarray, rows: np.ndarray) -> None:
        """Take in some rows of one query; equal scores keep the order in which they come."""
        every = np.concatenate((self.scores[query], scores))
        order = np.argsort(-every, kind="stable")[: self.scores.shape[1]]
        self.scores[query] = every[order]
        self.rows[query] = np.concatenate((self.rows[query], rows))[order]

    def _floor(self, scores: np.ndarray) -> np.ndarray:
        """(m, 1) what a score must be above: the last of k, or of a first block nearly its own."""
        last, k = self.scores[:, -1:], self.scores.shape[1]
        if scores.shape[1] <= 4 * k or not np.isneginf(last).any():
            return last
        least = np.partition(scores, -k, axis=1)[:, -k, None]
        floor: np.ndarray = np.maximum(last, np.nextafter(least, np.float32(-np.inf)))
        return floor
