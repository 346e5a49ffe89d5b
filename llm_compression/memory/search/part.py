"""Part: one fragment of a search, and the ways to score its rows."""

from collections.abc import Iterator

import numpy as np

from llm_compression.memory.search import kernels
from llm_compression.memory.search.best import Best
from llm_compression.memory.search.index import FragmentIndex
from llm_compression.memory.search.options import SearchOptions
from llm_compression.memory.search.twin import Twin, sign_bits
from llm_compression.memory.storage.layout import SHORTEST

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
        self.twin, self.start, self._allowed = twin, start, allowed
        self.count = len(twin.vectors) if allowed is None else int(allowed.sum())
        self._few = self.count * _FEW < len(twin.vectors)
        self.index = None if self._few else index

    def holds(self, rows: np.ndarray) -> np.ndarray:
        """Which of ``rows`` are of this fragment."""
        return (rows >= self.start) & (rows < self.start + len(self.twin.vectors))

    def ask(
        self, queries: np.ndarray, options: SearchOptions, expansion: int
    ) -> list[np.ndarray] | None:
        """Rows of this fragment to score for each query, by its index; None for all rows."""
        if self.index is None:
            return None
        n = len(self.twin.vectors)
        wanted = min(n, -(-options.candidates * n // self.count))  # more where some are left out
        found = self.index.search(queries, wanted, expansion)
        return [rows if self._allowed is None else rows[self._allowed[rows]] for rows in found]

    def propose(self, queries: np.ndarray, best: Best, options: SearchOptions) -> None:
        """Offer all rows, by the first pass that the options ask for."""
        for rows in self._blocks(kernels.block_rows(len(queries))):
            scores = self._first_pass(queries, rows, options)
            if isinstance(rows, np.ndarray):
                best.offer(scores, rows + self.start)
                continue
            if self._allowed is not None:
                scores[:, ~self._allowed[rows]] = -np.inf
            best.offer(scores, range(rows.start + self.start, rows.stop + self.start))

    def propose_some(
        self, queries: np.ndarray, some: list[np.ndarray], best: Best, options: SearchOptions
    ) -> None:
        """Offer what `ask` found, or all rows where a filter left too little of it."""
        for i, rows in enumerate(some):
            query = queries[i : i + 1]
            if len(rows) < min(options.top_k, self.count):  # the filter is not like chance
                self.propose(query, best.of(i), options)
            else:
                best.merge(i, self.scores(query, rows, options)[0], rows + self.start)

    def scores(
        self, queries: np.ndarray, rows: np.ndarray | slice, options: SearchOptions
    ) -> np.ndarray:
        """Exact scores (m, r) of some rows."""
        found = kernels.float_scores(queries, self.twin.vectors[rows, : queries.shape[1]])
        return self._by_length(found, rows, queries.shape[1], options)

    def _blocks(self, size: int) -> Iterator[np.ndarray | slice]:
        """Rows to score at once: the few that may be found, or stretches of all."""
        few = np.flatnonzero(self._allowed) if self._few and self._allowed is not None else None
        n = len(self.twin.vectors) if few is None else len(few)
        for start in range(0, n, size):
            rows = slice(start, min(n, start + size))
            yield rows if few is None else few[rows]

    def _first_pass(
        self, queries: np.ndarray, rows: np.ndarray | slice, options: SearchOptions
    ) -> np.ndarray:
        if options.method == "binary":
            return kernels.bit_scores(sign_bits(queries), self.twin.bits[rows])
        if options.method != "int8":
            return self.scores(queries, rows, options)
        codes, scales = self.twin.int8
        found = kernels.int8_scores(queries, codes[rows], scales[rows])
        return self._by_length(found, rows, queries.shape[1], options)

    def _by_length(
        self, scores: np.ndarray, rows: np.ndarray | slice, width: int, options: SearchOptions
    ) -> np.ndarray:
        """Inner products with unit queries as cosines, where those are asked for."""
        lengths = self.twin.lengths(width) if options.metric == "cosine" else None
        if lengths is not None:
            scores /= np.where(lengths[rows] < SHORTEST, 1, lengths[rows])
        return scores
