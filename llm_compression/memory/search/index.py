"""FragmentIndex: an approximate index of one large fragment, by usearch.

A fragment never changes, so its index needs no upkeep: what was stored since stands in other
fragments, which are searched exactly until they are large, and what was deleted is left out of what
the index finds. `docs/decisions/0003-approximate-index.md` says why usearch, and its parameters.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from llm_compression.errors import MissingDependencyError
from llm_compression.memory.search import sidecar
from llm_compression.memory.search.twin import Twin
from llm_compression.memory.storage.fragment import Fragment

LEAST_ROWS = 16_384  # of a fragment that gets an index; smaller ones are scanned as fast
_KIND = "usearch"
_CONNECTIVITY, _EXPANSION_ADD, _EXPANSION_SEARCH = 16, 64, 64


def has_index(fragment: Fragment) -> bool:
    """Whether the fragment has an index."""
    return any(sidecar.named(fragment, _KIND))


def wants_index(fragment: Fragment) -> bool:
    """Whether the fragment is large enough for an index and has none."""
    return fragment.entry.file.rows >= LEAST_ROWS and not has_index(fragment)


def build_index(twin: Twin, *, threads: int = 0) -> None:
    """Make the fragment's index; ``threads`` 0 takes every core.

    Raises:
        MissingDependencyError: usearch is not installed.
        OutputError: the disk is full, or the folder cannot be written.
    """
    library = _library()
    index = library.Index(
        ndim=twin.vectors.shape[1],
        metric="cos",
        dtype="bf16",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
        enable_key_lookups=False,  # keys are rows
    )
    index.add(np.arange(len(twin.vectors)), twin.vectors, threads=threads)
    sidecar.make(twin.fragment, _KIND, lambda draft: index.save(str(draft)))


class FragmentIndex:
    """An index that is open, memory-mapped."""

    def __init__(self, path: Path) -> None:
        self._index: Any = _library().Index.restore(str(path), view=True)
        self._index.expansion_search = _EXPANSION_SEARCH

    def search(self, queries: np.ndarray, k: int) -> Iterator[np.ndarray]:
        """About the k nearest rows of each of (m, d) queries, int64."""
        self._index.expansion_search = max(_EXPANSION_SEARCH, k)
        for query in queries:
            yield self._index.search(query, k).keys.astype(np.int64)


def open_index(fragment: Fragment) -> FragmentIndex | None:
    """The fragment's index, if it has an intact one."""
    path = sidecar.find(fragment, _KIND)
    return None if path is None else FragmentIndex(path)


@functools.cache
def _library() -> Any:
    try:
        from usearch import index
    except ImportError as error:
        raise MissingDependencyError(
            "approximate search needs usearch: pip install 'llm-compression[ann]'"
        ) from error
    return index
