"""What it costs to add to an approximate index, to remove from it, and to search part of it."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ann_indexes import (
    CONNECTIVITY,
    EXPANSION_ADD,
    TOP,
    ask,
    rescored,
    view_usearch,
)
from benchmarks.claims import Cell
from benchmarks.measure import timed
from benchmarks.results import Section

_CHANGED = 1000
_SHARES = (0.5, 0.1, 0.01, 0.001)
_SLACK = 4  # an index is asked for this many times the share that it should hold of the answer
_IVF = "faiss IVF256,SQ8"
_FULL = "exact over all rows, masked"
_ALLOWED = "exact over the allowed rows"
_OVER = "index asked for more"


def upkeep(rows: np.ndarray, queries: np.ndarray, folder: Path) -> Section:
    """1,000 rows added to an index of the others, then 1,000 removed from it."""
    samples: dict[Cell, list[float]] = {}
    kinds: dict[str, type[_Usearch] | type[_Faiss]] = {"usearch bf16": _Usearch, _IVF: _Faiss}
    for name, make in kinds.items():
        index = make(rows[:-_CHANGED], folder)
        samples[name, "add 1,000"] = [timed(partial(index.add, rows[-_CHANGED:])) * 1000]
        samples[name, "remove 1,000"] = [timed(partial(index.remove, _CHANGED)) * 1000]
        gone = [np.sum((found >= 0) & (found < _CHANGED)) for found in map(index.search, queries)]
        samples[name, "removed rows found"] = [float(sum(gone))]
        samples[name, "save"] = [timed(index.save) * 1000]
    return Section(
        name="upkeep",
        title="Adding and removing",
        note=f"{_CHANGED:,} rows added to an index of {len(rows) - _CHANGED:,} that is loaded into "
        f"memory, then the first {_CHANGED:,} removed, then the whole saved. A memory-mapped "
        "index takes neither.",
        units={"add 1,000": "ms", "remove 1,000": "ms", "removed rows found": "", "save": "ms"},
        samples=samples,
    )


class _Usearch:
    def __init__(self, rows: np.ndarray, folder: Path) -> None:
        from usearch.index import Index

        size = rows.shape[1]
        self._path, self._count = folder / "upkeep.usearch", len(rows)
        self._index = Index(
            ndim=size,
            metric="ip",
            dtype="bf16",
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
        )
        self._index.add(np.arange(len(rows)), rows, threads=2)

    def add(self, rows: np.ndarray) -> None:
        self._index.add(np.arange(self._count, self._count + len(rows)), rows, threads=2)

    def remove(self, count: int) -> None:
        self._index.remove(np.arange(count), threads=2)

    def search(self, query: np.ndarray) -> np.ndarray:
        keys: np.ndarray = self._index.search(query, TOP).keys.astype(np.int64)
        return keys

    def save(self) -> None:
        self._index.save(self._path)


class _Faiss:
    def __init__(self, rows: np.ndarray, folder: Path) -> None:
        import faiss

        self._path = folder / "upkeep.faiss"
        self._index = faiss.index_factory(
            rows.shape[1], _IVF.split()[1], faiss.METRIC_INNER_PRODUCT
        )
        self._index.train(rows)
        self._index.add(rows)
        self._index.nprobe = 32

    def add(self, rows: np.ndarray) -> None:
        self._index.add(rows)

    def remove(self, count: int) -> None:
        self._index.remove_ids(np.arange(count))

    def search(self, query: np.ndarray) -> np.ndarray:
        numbers: np.ndarray = self._index.search(query[None], TOP)[1][0]
        return numbers

    def save(self) -> None:
        import faiss

        faiss.write_index(self._index, str(self._path))


def filters(rows: np.ndarray, queries: np.ndarray, files: Path) -> Section:
    """Three ways to search the rows that a filter allows, by the share that it allows."""
    indexes = [view_usearch(path) for path in sorted(files.glob("*.usearch"))]
    samples: dict[Cell, list[float]] = {}
    for share in _SHARES:
        allowed = np.random.default_rng(0).random(len(rows)) < share
        ways = _ways(rows, indexes, allowed, share)
        exact = [ways[_FULL](query) for query in queries]
        for name, search in ways.items():
            row = f"{share:.1%} allowed, {name}"
            found = [search(query) for query in queries]
            hits = [len(np.intersect1d(a, b)) for a, b in zip(found, exact, strict=True)]
            samples[row, "recall@10"] = [float(np.mean(hits)) / TOP]
            samples[row, "query"] = [timed(partial(search, q)) * 1000 for q in queries]
    return Section(
        name="filters",
        title="Searching the rows that a filter allows",
        note=f"The rows of all indexes, allowed at random; {_OVER}: each of {len(indexes)} "
        f"usearch indexes gives {_SLACK} times its share of the rows among which ten are "
        "allowed, and those that are not are dropped. The filter itself is not timed.",
        units={"recall@10": "x", "query": "ms"},
        samples=samples,
    )


def _ways(
    rows: np.ndarray, indexes: list[Any], allowed: np.ndarray, share: float
) -> Mapping[str, Callable[[np.ndarray], np.ndarray]]:
    numbers = np.flatnonzero(allowed)
    asked = max(TOP, int(_SLACK * TOP / share / len(indexes)))

    def masked(query: np.ndarray) -> np.ndarray:
        scores = np.where(allowed, rows @ query, -np.inf)
        return np.argpartition(-scores, TOP)[:TOP]

    def gathered(query: np.ndarray) -> np.ndarray:
        scores = rows[numbers] @ query
        best: np.ndarray = numbers[np.argpartition(-scores, TOP)[:TOP]]
        return best

    def over(query: np.ndarray) -> np.ndarray:
        keys, distances = ask(indexes, query, asked, max(asked, 64))
        keys, distances = keys[allowed[keys]], distances[allowed[keys]]
        return rescored(keys[np.argsort(distances)[:30]], rows, query)

    return {_FULL: masked, _ALLOWED: gathered, _OVER: over}
