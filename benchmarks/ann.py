"""Which approximate index finds the ten nearest of a million vectors, at what cost."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.ann_damage import damage
from benchmarks.ann_indexes import (
    FRAGMENT,
    TOP,
    Contestant,
    Search,
    faiss,
    lancedb,
    new_usearch,
    usearch,
)
from benchmarks.ann_upkeep import filters, upkeep
from benchmarks.captions import MILLION, captions, million
from benchmarks.claims import Cell, Claim
from benchmarks.measure import interleave, timed
from benchmarks.results import Section

LIBRARIES = ("faiss-cpu", "lancedb", "numpy", "pyarrow", "torch", "usearch")
_RECALL = 0.95
_TARGET_MS = 5
_TIMED = 200
_EXACT = "numpy, exact"
_PLAN = usearch("bf16", fragment=FRAGMENT)
_PLAN_THREADED = usearch("bf16", fragment=FRAGMENT, threads=2)
_ONE = usearch("bf16")
_OF_ALL = (_PLAN, _PLAN_THREADED, _ONE)
_OF_A_FRAGMENT = (
    usearch("bf16"),
    usearch("i8"),
    faiss("IVF256,SQ8"),
    faiss("IVF256,Flat"),
    faiss("HNSW16"),
    lancedb("HnswSq", num_partitions=1),
    lancedb("IvfPq", num_partitions=256, num_sub_vectors=96, max_iterations=10),
)
_CURVE = (16, 32, 64, 128)
_KINDS = [("bf16", 16, 64), ("bf16", 32, 128), ("i8", 16, 64), ("f32", 16, 64)]


@dataclass(frozen=True)
class _Task:
    """Rows, (n, d); queries, (Q, d); and the numbers of the ten nearest rows of each, (Q, 10)."""

    rows: np.ndarray
    queries: np.ndarray
    exact: np.ndarray


def measure(data: Path, folder: Path, *, quick: bool) -> list[Section]:
    """The plan on all rows, every library on a fragment; kinds, upkeep, filters, damage."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # faiss's threads else spin between queries
    os.environ.setdefault("LANCE_LOG", "error")
    import faiss as library  # first: faiss.index_factory crashes where usearch came before it

    library.omp_set_num_threads(2)
    rows = million(data, 20_000 if quick else MILLION)
    queries = captions(data).queries
    fragment = np.ascontiguousarray(rows[: 2000 if quick else FRAGMENT])
    return [
        *_million(rows, queries, folder),
        _fragment(fragment, queries, folder),
        _kinds(fragment, queries, folder),
        upkeep(fragment, queries, folder),
        filters(rows, queries[:50], folder / _PLAN.files),
        damage(fragment[:20_000], queries[:20], folder),
    ]


def _million(rows: np.ndarray, queries: np.ndarray, folder: Path) -> list[Section]:
    task = _Task(rows, queries, nearest(rows, queries))
    opened: dict[str, Search] = {}
    return [
        Section(
            name="million",
            title="Ten nearest of a million",
            note=f"{len(rows):,} x {rows.shape[1]}. {_NOTE}",
            units=_UNITS,
            samples=_compared(_OF_ALL, task, folder, opened),
            claims=[
                Claim(f"{one.name}, median query", (one.name, "query"), None, _TARGET_MS, "ms")
                for one in (_PLAN, _PLAN_THREADED, _ONE)
            ],
        ),
        _curve(task, opened),
    ]


def _fragment(rows: np.ndarray, queries: np.ndarray, folder: Path) -> Section:
    parts = folder / "fragment"
    parts.mkdir()
    task = _Task(rows, queries, nearest(rows, queries))
    return Section(
        name="fragment",
        title="Every library on one fragment",
        note=f"{len(rows):,} x {rows.shape[1]}, otherwise as above. LanceDB's size holds its copy "
        "of the rows, which is part of it; the others' are the index alone.",
        units=_UNITS,
        samples=_compared(_OF_A_FRAGMENT, task, parts, {}),
    )


def nearest(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Numbers of the ten nearest rows of each query, in no order, (Q, 10)."""
    found = [
        np.argpartition(-(block @ rows.T), TOP, axis=1)[:, :TOP]
        for block in np.array_split(queries, 10)
    ]
    return np.concatenate(found)


def recall(found: Sequence[np.ndarray], exact: np.ndarray) -> float:
    """The share of the exact neighbours that were found."""
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, exact, strict=True))
    return hits / exact.size


_NOTE = (
    "Recall over 1,000 held-out captions, times over 200 of them, one at a time; each index at "
    f"its least effort (expansion, probes) with recall@10 of {_RECALL} or more. The best 30 are "
    "scored again from the float32 rows. Builds use two threads; queries one, unless it says "
    "otherwise, and faiss and LanceDB as many as they like."
)
_UNITS = {
    "build": "s",
    "size": "bytes",
    "open": "ms",
    "effort": "",
    "recall@10": "x",
    "query": "ms",
    "query, 95 %": "ms",
}


def _compared(
    contestants: Sequence[Contestant],
    task: _Task,
    folder: Path,
    opened: dict[str, Search],
) -> dict[Cell, list[float]]:
    """Every contestant at its least effort that reaches the recall; queries in turns."""
    samples: dict[Cell, list[float]] = {(_EXACT, "recall@10"): [1.0]}
    asked: dict[str, Callable[[np.ndarray], np.ndarray]] = {_EXACT: partial(_exact, task.rows)}
    for one in contestants:
        samples |= _built(one, task.rows, folder)
        start = perf_counter()
        opened[one.name] = one.open(folder / one.files, task.rows)
        samples[one.name, "open"] = [(perf_counter() - start) * 1000]
        effort, reached = _least_effort(opened[one.name], one.efforts, task)
        samples[one.name, "effort"], samples[one.name, "recall@10"] = [effort], [reached]
        asked[one.name] = partial(_with_effort, opened[one.name], effort)
    samples |= _query_times(asked, task.queries[:_TIMED])
    return {(n, c): samples[n, c] for n in asked for c in _UNITS if (n, c) in samples}


def _built(one: Contestant, rows: np.ndarray, folder: Path) -> dict[Cell, list[float]]:
    """Build time and size, once for contestants that share their files."""
    target = folder / one.files
    if target.exists():
        return {}
    target.mkdir()
    seconds = timed(partial(one.build, rows, target))
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    return {(one.name, "build"): [seconds], (one.name, "size"): [size]}


def _least_effort(search: Search, efforts: Sequence[int], task: _Task) -> tuple[int, float]:
    reached = 0.0
    for effort in efforts:
        reached = recall([search(query, effort) for query in task.queries], task.exact)
        if reached >= _RECALL:
            break
    return effort, reached


def _with_effort(search: Search, effort: int, query: np.ndarray) -> np.ndarray:
    return search(query, effort)


def _exact(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    best: np.ndarray = np.argpartition(-(rows @ query), TOP)[:TOP]
    return best


def _query_times(
    asked: Mapping[str, Callable[[np.ndarray], np.ndarray]], queries: np.ndarray, rounds: int = 5
) -> dict[Cell, list[float]]:
    """Milliseconds of every query, and the 95th percentile of each round."""
    actions = {name: partial(_round, search, queries) for name, search in asked.items()}
    actions[_EXACT] = partial(_round, asked[_EXACT], queries[:10])
    turns = interleave(actions, rounds)
    samples: dict[Cell, list[float]] = {}
    for name, times in turns.items():
        samples[name, "query"] = [float(np.median(of_one)) for of_one in times]
        samples[name, "query, 95 %"] = [float(np.percentile(of_one, 95)) for of_one in times]
    return samples


def _round(search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray) -> list[float]:
    return [timed_query(search, query) for query in queries]


def timed_query(search: Callable[[np.ndarray], np.ndarray], query: np.ndarray) -> float:
    """Milliseconds of one query."""
    start = perf_counter()
    search(query)
    return (perf_counter() - start) * 1000


def _curve(task: _Task, opened: Mapping[str, Search]) -> Section:
    """Recall and time of one index over all, and of one for each fragment, by expansion."""
    samples: dict[Cell, list[float]] = {}
    for one in (_ONE, _PLAN, _PLAN_THREADED):
        for effort in _CURVE:
            search = partial(_with_effort, opened[one.name], effort)
            row = f"{one.name}, expansion {effort}"
            found = [search(query) for query in task.queries]
            samples[row, "recall@10"] = [recall(found, task.exact)]
            samples[row, "query"] = _round(search, task.queries[:_TIMED])
    return Section(
        name="curve",
        title="One index, or one for each fragment",
        note=f"As above. Fragments of {FRAGMENT:,} rows are searched one after the other, or "
        "shared by two threads, and their answers merged.",
        units={"recall@10": "x", "query": "ms"},
        samples=samples,
    )


def _kinds(rows: np.ndarray, queries: np.ndarray, folder: Path) -> Section:
    """Precision and graph of one fragment's index, without scoring again."""
    exact = nearest(rows, queries)
    samples: dict[Cell, list[float]] = {}
    for kind in _KINDS:
        row = "{}, connectivity {}, expansion {}".format(*kind)
        index = new_usearch(kind[0], rows.shape[1], *kind[1:])
        samples[row, "build"] = [timed(partial(index.add, np.arange(len(rows)), rows, threads=2))]
        index.save(folder / "kind.usearch")
        samples[row, "size"] = [(folder / "kind.usearch").stat().st_size]
        index.expansion_search = 64
        found = [index.search(query, TOP, threads=1).keys for query in queries]
        samples[row, "recall@10"] = [recall(found, exact)]
        samples[row, "query"] = [
            timed_query(partial(index.search, count=TOP, threads=1), query) for query in queries
        ]
    return Section(
        name="kinds",
        title="usearch: precision and graph",
        note=f"One index of {len(rows):,} rows, expansion 64 in search, not scored again.",
        units={"build": "s", "size": "bytes", "recall@10": "x", "query": "ms"},
        samples=samples,
    )
