"""Part: one fragment of a search, and the ways to score its rows."""

from collections.abc import Iterator

import numpy as np

from llm_compression.memory.search import kernels
from llm_compression.memory.search.best import Best
from llm_compression.memory.search.index import FragmentIndex
from llm_compression.memory.search.options import SearchOptions
from llm_compression.memory.search.twin import Twin, sign_bits

_FEW = 4  # a filter that leaves less than one row in so many has them gathered first


class Part:
    """One fragment of a search.

    Args:
        twin: its rows.
        index: to ask instead of comparing with every row.
        start: number of its first row among all rows of the search.
        allowed: (n,) bool, rows that may be found; None for all.
    """

    def __init__(
        self, twin: Twin, index: FragmentIndex | None, start: int, allowed: np.ndarray | None
    ) -> None:
        self.twin, self.start, self.allowed, self._index = twin, start, allowed, index
        count = len(twin.vectors) if allowed is None else int(allowed.sum())
        self._few = count * _FEW < len(twin.vectors)
        self._count = count

    def holds(self, rows: np.ndarray) -> np.ndarray:
        """Which of ``rows`` are of this fragment."""
        return (rows >= self.start) & (rows < self.start + len(self.twin.vectors))

    def propose(self, queries: np.ndarray, best: Best, options: SearchOptions) -> None:
        """Offer this fragment's rows, by the first pass that the options ask for."""
        if not self._count:
            return
        if self._few and self.allowed is not None:
            rows = np.flatnonzero(self.allowed)
            for i, scores in enumerate(self.scores(queries, rows, options)):
                best.merge(i, scores, rows + self.start)
            return
        if self._index is not None:
            self._ask(self._index, queries, best, options)
            return
        for first, scores in self._blocks(queries, options):
            if self.allowed is not None:
                scores[:, ~self.allowed[first : first + scores.shape[1]]] = -np.inf
            best.offer(scores, self.start + first)

    def scores(self, queries: np.ndarray, rows: np.ndarray, options: SearchOptions) -> np.ndarray:
        """Exact scores (m, r) of some rows."""
        width = queries.shape[1]
        found: np.ndarray = queries @ self.twin.vectors[rows, :width].T
        return self._by_length(found, rows, width, options)

    def _blocks(self, queries: np.ndarray, options: SearchOptions) -> Iterator[kernels.Block]:
        if options.method == "binary":
            yield from kernels.bit_scores(sign_bits(queries), self.twin.bits)
            return
        width = queries.shape[1]
        if options.method == "int8":
            blocks = kernels.int8_scores(queries, *self.twin.int8)
        else:
            blocks = kernels.float_scores(queries, self.twin.vectors[:, :width])
        for first, scores in blocks:
            rows = slice(first, first + scores.shape[1])
            yield first, self._by_length(scores, rows, width, options)

    def _by_length(
        self, scores: np.ndarray, rows: np.ndarray | slice, width: int, options: SearchOptions
    ) -> np.ndarray:
        """Inner products with unit queries as cosines, where those are asked for."""
        lengths = self.twin.lengths(width) if options.metric == "cosine" else None
        if lengths is None:
            return scores
        return scores / np.where(lengths[rows] == 0, 1, lengths[rows])

    def _ask(
        self, index: FragmentIndex, queries: np.ndarray, best: Best, options: SearchOptions
    ) -> None:
        n = len(self.twin.vectors)
        wanted = min(n, -(-options.candidates * n // self._count))  # more where some are left out
        for i, rows in enumerate(index.search(queries, wanted)):
            kept = rows if self.allowed is None else rows[self.allowed[rows]]
            if len(kept) < min(options.top_k, self._count):  # the filter is not like chance
                kept = np.arange(n) if self.allowed is None else np.flatnonzero(self.allowed)
            scores = self.scores(queries[i : i + 1], kept, options)[0]
            best.merge(i, scores, kept + self.start)
