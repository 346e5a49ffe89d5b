"""Approximate indexes as a user would build, store, open and ask them: usearch, faiss, LanceDB."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

TOP = 10
FRAGMENT = 131_072
CONNECTIVITY, EXPANSION_ADD = 16, 64
_CANDIDATES = 30  # as many are scored again from the float32 rows
_TRAINED_ON = 100_000
_CORES = 2
Search = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Contestant:
    """One kind of index.

    Args:
        name: as it is called in tables.
        files: names the folder of its files; contestants of one name share what one built.
        build: from rows, (n, d), to files in a folder.
        open: from that folder and the rows to a function of a query, (d,), and an effort that
            gives the numbers of the ten nearest rows.
        efforts: how hard to search, from quick to thorough: expansion, probes.
    """

    name: str
    files: str
    build: Callable[[np.ndarray, Path], None]
    open: Callable[[Path, np.ndarray], Search]
    efforts: Sequence[int] = (16, 24, 32, 48, 64, 96, 128, 192, 256)


def new_usearch(dtype: str, size: int, connectivity: int, expansion: int) -> Any:
    """An empty HNSW index for inner products."""
    from usearch.index import Index

    return Index(
        ndim=size,
        metric="ip",
        dtype=dtype,
        connectivity=connectivity,
        expansion_add=expansion,
        enable_key_lookups=False,
    )


def usearch(dtype: str, *, fragment: int | None = None, threads: int = 1) -> Contestant:
    """HNSW of usearch, memory-mapped: one over all rows, or one for each ``fragment`` rows."""
    name = f"usearch {dtype}" + (f", one per {fragment:,} rows" if fragment else "")
    return Contestant(
        name=name + (f", {threads} threads" if threads > 1 else ""),
        files=f"usearch-{dtype}-{fragment}",
        build=partial(_build_usearch, dtype, fragment),
        open=partial(_open_usearch, threads),
    )


def _build_usearch(dtype: str, fragment: int | None, rows: np.ndarray, folder: Path) -> None:
    for start in range(0, len(rows), fragment or len(rows)):
        part = np.ascontiguousarray(rows[start : start + (fragment or len(rows))])
        index = new_usearch(dtype, rows.shape[1], CONNECTIVITY, EXPANSION_ADD)
        index.add(np.arange(start, start + len(part)), part, threads=_CORES)
        index.save(folder / f"{start:09}.usearch")


def view_usearch(path: Path) -> Any:
    """A stored index, memory-mapped."""
    from usearch.index import Index

    return Index.restore(path, view=True)


def _open_usearch(threads: int, folder: Path, rows: np.ndarray) -> Search:
    indexes = [view_usearch(path) for path in sorted(folder.glob("*.usearch"))]
    threads = min(threads, len(indexes))
    pool = ThreadPoolExecutor(threads)

    def search(query: np.ndarray, effort: int) -> np.ndarray:
        asked = max(TOP, _CANDIDATES // len(indexes))
        shares = [partial(ask, indexes[i::threads], query, asked, effort) for i in range(threads)]
        first, *others = shares
        waiting = [pool.submit(share) for share in others]
        found = [first(), *(one.result() for one in waiting)]
        keys, distances = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        return rescored(keys[np.argsort(distances)[:_CANDIDATES]], rows, query)

    return search


def ask(
    indexes: Sequence[Any], query: np.ndarray, count: int, effort: int
) -> tuple[np.ndarray, np.ndarray]:
    """Keys and distances of ``count`` neighbours from each index, not merged."""
    found = []
    for index in indexes:
        index.expansion_search = effort
        found.append(index.search(query, count, threads=1))
    keys = np.concatenate([matches.keys for matches in found])
    return keys, np.concatenate([matches.distances for matches in found])


def rescored(numbers: np.ndarray, rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The ten best of some rows by their float32 values."""
    numbers = np.sort(numbers).astype(np.int64)
    best: np.ndarray = numbers[np.argsort(-(rows[numbers] @ query))[:TOP]]
    return best


def faiss(specification: str) -> Contestant:
    """An index of faiss's factory; its searches may use two threads, its files are mapped."""
    return Contestant(
        name=f"faiss {specification}",
        files=f"faiss-{specification}",
        build=partial(_build_faiss, specification),
        open=_open_faiss,
    )


def _build_faiss(specification: str, rows: np.ndarray, folder: Path) -> None:
    import faiss as library

    library.omp_set_num_threads(_CORES)
    kind = library.METRIC_INNER_PRODUCT
    index = library.index_factory(rows.shape[1], specification, kind)
    count = min(_TRAINED_ON, len(rows))
    sample = np.random.default_rng(0).choice(len(rows), count, replace=False)
    index.train(np.ascontiguousarray(rows[np.sort(sample)]))
    for start in range(0, len(rows), FRAGMENT):
        index.add(np.ascontiguousarray(rows[start : start + FRAGMENT]))
    library.write_index(index, str(folder / "index.faiss"))


def _open_faiss(folder: Path, rows: np.ndarray) -> Search:
    import faiss as library

    library.omp_set_num_threads(_CORES)
    index = library.read_index(str(folder / "index.faiss"), library.IO_FLAG_MMAP)
    lists = library.try_extract_index_ivf(index)

    def search(query: np.ndarray, effort: int) -> np.ndarray:
        if lists:
            lists.nprobe = effort
        else:
            index.hnsw.efSearch = effort
        _, numbers = index.search(query[None], _CANDIDATES)
        return rescored(numbers[0][numbers[0] >= 0], rows, query)

    return search


def lancedb(kind: str, **options: Any) -> Contestant:
    """An index of LanceDB over its own copy of the rows, scored again from them."""
    return Contestant(
        name=f"LanceDB {kind}",
        files=f"lancedb-{kind}",
        build=partial(_build_lancedb, kind, options),
        open=partial(_open_lancedb, hnsw="HNSW" in kind),
        efforts=(32, 48, 64, 96, 128, 192, 256),
    )


def _build_lancedb(kind: str, options: dict[str, Any], rows: np.ndarray, folder: Path) -> None:
    import lancedb as library
    import lancedb.index as kinds
    import pyarrow as pa

    table = library.connect(folder).create_table("rows", schema=lance_schema(rows.shape[1]))
    for start in range(0, len(rows), FRAGMENT):
        part = rows[start : start + FRAGMENT]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), rows.shape[1])
        numbers = np.arange(start, start + len(part))
        table.add(pa.table({"id": numbers, "vector": vectors}))
    table.create_index("vector", config=getattr(kinds, kind)(distance_type="dot", **options))


def lance_schema(size: int) -> Any:
    """Columns ``id`` and ``vector``."""
    import pyarrow as pa

    return pa.schema({"id": pa.int64(), "vector": pa.list_(pa.float32(), size)})


def _open_lancedb(folder: Path, _rows: np.ndarray, *, hnsw: bool) -> Search:
    import lancedb as library

    table = library.connect(folder).open_table("rows")

    def search(query: np.ndarray, effort: int) -> np.ndarray:
        asked = table.search(query).distance_type("dot").limit(TOP).select(["id", "_distance"])
        asked = asked.ef(effort).nprobes(1) if hnsw else asked.nprobes(effort)
        found = asked.refine_factor(_CANDIDATES // TOP).to_arrow()
        numbers: np.ndarray = found["id"].to_numpy()
        return numbers

    return search
