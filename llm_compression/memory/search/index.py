"""FragmentIndex: an approximate index of one large fragment, by usearch.

A fragment never changes, so its index needs no upkeep: what was stored since stands in other
fragments, which are searched exactly until they are large, and what was deleted is left out of what
the index finds. `docs/decisions/0003-approximate-index.md` says why usearch, and its parameters.

Equal vectors stand in it once: among many that are equal, a walk through the graph finds no others.
Parallel ones that differ in length stand in it one by one, and thousands of them are in its way.
"""

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llm_compression.errors import MissingDependencyError
from llm_compression.memory.search import sidecar
from llm_compression.memory.search.twin import Twin
from llm_compression.memory.storage.fragment import Fragment

LEAST_ROWS = 16_384  # of a fragment that gets an index; smaller ones are scanned as fast
_KIND = "usearch"
_CONNECTIVITY, _EXPANSION_ADD = 16, 64
_EXPANSION_ONE, _EXPANSION_LEAST = 64, 32  # rows that a search keeps in view, by recall 0.97


def expansion(indexes: int) -> int:
    """Rows to keep in view in each of some indexes; where there are many, each has few to find."""
    return max(_EXPANSION_LEAST, math.isqrt(_EXPANSION_ONE**2 // max(1, indexes)))


def wants_index(fragment: Fragment, *, check: bool) -> bool:
    """Whether the fragment is large enough for an index and has none.

    ``check`` reads an index to see that it is intact.
    """
    if fragment.entry.file.rows < LEAST_ROWS:
        return False
    if check:
        return sidecar.find(fragment, _KIND) is None
    return not any(sidecar.named(fragment, _KIND))


def build_index(twin: Twin, *, threads: int = 0) -> None:
    """Make the fragment's index; ``threads`` 0 takes every core.

    Raises:
        MissingDependencyError: usearch is not installed.
        OutputError: the disk is full, or the folder cannot be written.
    """
    index = usearch().Index(
        ndim=twin.vectors.shape[1],
        metric="cos",
        dtype="bf16",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
        enable_key_lookups=False,  # keys are rows
    )
    rows = np.flatnonzero(_first(twin) == np.arange(len(twin.vectors)))
    for start in range(0, len(rows), _BLOCK):
        some = rows[start : start + _BLOCK]
        index.add(some, _unit(twin, some), threads=threads)
    sidecar.make(twin.fragment, _KIND, lambda draft: _save(index, draft))


_BLOCK = 16_384


def _unit(twin: Twin, rows: np.ndarray) -> np.ndarray:
    """Rows at unit length: squares of others may leave the numbers that the index computes in."""
    vectors: np.ndarray = twin.vectors[rows]
    lengths = twin.lengths(twin.vectors.shape[1])
    if lengths is None:
        return vectors
    divisors = np.where(lengths[rows] == 0, 1, lengths[rows]).astype(np.float64)
    return np.asarray(vectors / divisors[:, None], np.float32)


def _save(index: Any, path: Path) -> None:
    try:
        index.save(str(path))
    except RuntimeError as error:  # how usearch tells of a disk that is full, say
        raise OSError(str(error)) from error


class FragmentIndex:
    """An index that is open, memory-mapped.

    Args:
        index: of usearch.
        first: (n,) the first row whose vector is that of each row; the index holds these alone.
    """

    def __init__(self, index: Any, first: np.ndarray) -> None:
        self._index = index
        self._all_differ = bool((first == np.arange(len(first))).all())
        self._order = np.argsort(first, kind="stable")
        self._first = first[self._order]
        self._one_at_a_time = threading.Lock()  # usearch lets go of the GIL, not of its buffers

    def search(self, queries: np.ndarray, k: int, expansion: int) -> Iterator[np.ndarray]:
        """About the k nearest rows of each of (m, d) queries, and those equal to them, int64."""
        for query in queries:
            with self._one_at_a_time:
                self._index.expansion_search = max(expansion, k)
                found = self._index.search(query, k).keys
            yield self._equal(found.astype(self._first.dtype))

    def _equal(self, rows: np.ndarray) -> np.ndarray:
        if self._all_differ:
            return rows
        starts, stops = (np.searchsorted(self._first, rows, side) for side in ("left", "right"))
        counts = stops - starts
        before = np.cumsum(counts) - counts
        found: np.ndarray = self._order[
            np.repeat(starts - before, counts) + np.arange(counts.sum())
        ]
        return found


def open_index(twin: Twin) -> FragmentIndex | None:
    """The fragment's index, if it has an intact one that this release of usearch can read."""
    path = sidecar.find(twin.fragment, _KIND)
    try:
        index = None if path is None else usearch().Index.restore(str(path), view=True)
    except RuntimeError:  # written by another release, or removed this moment
        return None
    return None if index is None else FragmentIndex(index, _first(twin))


def _first(twin: Twin) -> np.ndarray:
    """(n,) uint32, the first row whose vector is that of each row, as far as the index tells."""
    table = sidecar.mapped_table(
        twin.fragment, "equal", lambda: pa.table({"first": _first_equal(twin.vectors)})
    )
    first: np.ndarray = table["first"].chunk(0).to_numpy()
    return first


def _first_equal(vectors: np.ndarray) -> np.ndarray:
    """By hashes of the values as bfloat16, in which the index compares them."""
    factors = np.random.default_rng(0).integers(0, 1 << 64, vectors.shape[1], np.uint64)
    hashes = np.empty(len(vectors), np.uint64)
    for start in range(0, len(vectors), 4096):
        block = vectors[start : start + 4096] + np.float32(0)  # -0 becomes 0
        values = (block.view(np.uint32).astype(np.uint64) + 0x8000) >> 16
        hashes[start : start + 4096] = (values * factors).sum(axis=1, dtype=np.uint64)
    _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    return first.astype(np.uint32)[which]


def usearch() -> Any:
    """The library.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        from usearch import index
    except ImportError as error:
        raise MissingDependencyError(
            "approximate search needs usearch: pip install 'llm-compression[ann]'"
        ) from error
    return index
