"""Best: the highest scores of many queries, gathered block by block."""

import numpy as np


class Best:
    """For each of m queries the k best rows so far, best first, of equal ones the first seen.

    Attributes:
        scores: (m, k) float32; ``-inf`` where fewer have come.
        rows: (m, k) int64; -1 where fewer have come.
    """

    def __init__(self, queries: int, k: int) -> None:
        self.scores = np.full((queries, k), -np.inf, np.float32)
        self.rows = np.full((queries, k), -1, np.int64)

    def offer(self, scores: np.ndarray, first_row: int) -> None:
        """Take in scores (m, n) of rows ``first_row`` and on; ``-inf`` is no row."""
        k = self.scores.shape[1]
        if scores.shape[1] > 4 * k and np.isneginf(self.scores[:, -1]).any():
            self._offer_some(scores, first_row, k)
            return
        query, column = np.nonzero(scores > self.scores[:, -1:])
        if not len(query):
            return
        starts = np.searchsorted(query, np.arange(len(scores) + 1))
        for i in np.unique(query):
            found = column[starts[i] : starts[i + 1]]
            self.merge(int(i), scores[i, found], found + first_row)

    def merge(self, query: int, scores: np.ndarray, rows: np.ndarray) -> None:
        """Take in some rows of one query; equal scores keep the order in which they come."""
        every = np.concatenate((self.scores[query], scores))
        order = np.argsort(-every, kind="stable")[: self.scores.shape[1]]
        self.scores[query] = every[order]
        self.rows[query] = np.concatenate((self.rows[query], rows))[order]

    def _offer_some(self, scores: np.ndarray, first_row: int, k: int) -> None:
        """The first block: a partition finds the few that matter."""
        floor = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
        for i, least in enumerate(floor):
            found = np.flatnonzero(scores[i] >= least) if least > -np.inf else None
            found = np.flatnonzero(scores[i] > -np.inf) if found is None else found
            self.merge(i, scores[i, found], found + first_row)
