"""The memory system on a million vectors, beside faiss, usearch and LanceDB."""

import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np

from benchmarks.ann_indexes import TOP
from benchmarks.captions import MILLION, captions, million
from benchmarks.case import WrongResultError
from benchmarks.claims import Cell, Claim
from benchmarks.measure import interleave, timed
from benchmarks.memory_others import Ask, foreign
from benchmarks.process import run_program
from benchmarks.results import Section
from llm_compression import MultimodalStorage

LIBRARIES = ("faiss-cpu", "lancedb", "numpy", "pyarrow", "torch", "usearch")
_BATCH, _CHECKED = 1000, 100
_QUICK = 100_000
_MODALITY, _MODEL = "text", "all-MiniLM-L6-v2"
_NUMPY = "numpy, rows @ query"
_QUERY = "one query"
_SETTLE = 0.15  # seconds
_RECALL = {"exact": 1.0, "int8": 0.99, "binary": 0.95, "approximate": 0.95}


def measure(data: Path, folder: Path, *, quick: bool) -> list[Section]:
    """Append the vectors in durable batches, then search among them."""
    import faiss as _first  # noqa: F401  after usearch its factory crashes

    rows = np.array(million(data, _QUICK if quick else MILLION))
    queries = captions(data).queries
    storage = MultimodalStorage(folder / "memory")
    steps: list[Callable[[], Section]] = [
        partial(_append, storage, rows),
        partial(_single, folder),
        partial(_made, storage),
        partial(_open, storage),
        partial(_search, storage, rows, queries, folder, quick=quick),
        partial(_resident, storage),
    ]
    sections = []
    for step in steps:
        sections.append(step())
        print(f"{sections[-1].title}: measured", file=sys.stderr, flush=True)
    return sections


def _append(storage: MultimodalStorage, rows: np.ndarray) -> Section:
    """Milliseconds of each batch of 1,000, averaged over ten, for each tenth of the growth."""
    tenth = len(rows) // 10
    samples: dict[Cell, list[float]] = {}
    most = 0
    for first in range(0, len(rows), tenth):
        name = f"rows {first:,} to {first + tenth:,}"
        spent = []
        for start in range(first, first + tenth, _BATCH):
            spent.append(_store(storage, rows, start, _BATCH))
            most = max(most, storage.get_storage_stats()[_MODALITY].fragments)
        parts = [spent[i::10] for i in range(10)]
        samples[name, "1,000 rows"] = [1e3 * sum(part) / len(part) for part in parts]
    names = [name for name, _ in samples]
    return Section(
        name="append",
        title="Store vectors as a dataset grows",
        note="Batches of 1,000 rows of 384 float32 with an id, a text and metadata; each is synced "
        "to disk with its name before the call returns. Merging small files is part of it. Each "
        "sample is the mean of every tenth batch.",
        units={"1,000 rows": "ms"},
        samples=samples,
        claims=[
            Claim("1,000 rows among the last", (names[-1], "1,000 rows"), None, 100, "ms"),
            Claim("last / first", (names[-1], "1,000 rows"), (names[0], "1,000 rows"), 1.3),
        ],
        checks=[
            f"{storage.count(_MODALITY):,} rows are there, in at most {most} files at any time"
        ],
    )


def _single(folder: Path) -> Section:
    """One row at a time."""
    storage = MultimodalStorage(folder / "single")
    rows = np.random.default_rng(0).standard_normal((500, 384), dtype=np.float32)
    spent = [1e3 * _store(storage, rows, i, 1) for i in range(len(rows))]
    fragments = storage.get_storage_stats()[_MODALITY].fragments
    return Section(
        name="single",
        title="Store one row at a time",
        note="Each is synced to disk with its name before the call returns.",
        units={"one row": "ms"},
        samples={("store", "one row"): spent},
        checks=[f"500 rows stand in {fragments} files"],
    )


def _made(storage: MultimodalStorage) -> Section:
    """What searches make once, and the room that takes."""
    storage.compact(_MODALITY)
    samples: dict[Cell, list[float]] = {("stored, Parquet", "size"): [_size(storage, "data")]}
    before = 0.0
    steps: dict[str, Callable[[], object]] = {
        "twin, for every search": partial(storage.prepare_search, _MODALITY),
        "int8 codes": partial(storage.prepare_search, _MODALITY, method="int8"),
        "binary codes": partial(storage.prepare_search, _MODALITY, method="binary"),
        "approximate index": partial(storage.build_index, _MODALITY),
    }
    for name, step in steps.items():
        samples[name, "time"] = [timed(step)]
        total = _size(storage, "search")
        samples[name, "size"] = [total - before]
        before = total
    return Section(
        name="made",
        title="What searches make once",
        note="Files beside the dataset that can be removed at any time; all rows at once, synced.",
        units={"time": "s", "size": "bytes"},
        samples=samples,
    )


def _open(storage: MultimodalStorage) -> Section:
    opened = interleave({("open and count", "time"): partial(_opened, storage.path)}, 21)
    rows = storage.count(_MODALITY)
    return Section(
        name="open",
        title=f"Open a dataset of {rows:,} rows",
        note="One process, files in the page cache.",
        units={"time": "ms"},
        samples=opened,
        claims=[Claim("open", ("open and count", "time"), None, 100, "ms")],
    )


def _search(
    storage: MultimodalStorage, rows: np.ndarray, queries: np.ndarray, folder: Path, *, quick: bool
) -> Section:
    """One query at a time, all contestants in turn."""
    truth = _truth(rows, queries)
    asks: dict[str, Ask] = {
        **{f"llm_compression, {m}": partial(_ask, storage, method=m) for m in _RECALL},
        "llm_compression, exact, a third by metadata": partial(_ask, storage, filter={"third": 0}),
        **dict(foreign(rows, folder)),
    }
    found = {name: np.array([ask(q) for q in queries[:_CHECKED]]) for name, ask in asks.items()}
    checks = [_check_recall(name, got, truth) for name, got in found.items() if "third" not in name]
    _check_batch(storage, queries, truth)
    contestants: dict[str, Callable[[np.ndarray], object]] = {_NUMPY: lambda q: rows @ q, **asks}
    timers = {(name, _QUERY): _timer(ask, queries) for name, ask in contestants.items()}
    base = (_NUMPY, _QUERY)
    return Section(
        name="search",
        title=f"Find the {TOP} nearest of {len(rows):,}",
        note="One query after another, everything in the page cache, ids, sources and metadata of "
        "the matches included in our times. Vectors are sums of two real captions with noise, "
        "queries captions that are in none.",
        units={_QUERY: "ms"},
        samples=interleave(timers, 15 if quick else 51, warmup=3),
        claims=[
            Claim(f"exact / {_NUMPY}", ("llm_compression, exact", _QUERY), base, 1.3),
            Claim(f"int8, scored again / {_NUMPY}", ("llm_compression, int8", _QUERY), base, 0.4),
            Claim(f"binary, scored again / {_NUMPY}", ("llm_compression, binary", _QUERY), base),
            Claim("approximate", ("llm_compression, approximate", _QUERY), None, 5, "ms"),
        ],
        checks=[*checks, "1,000 queries in one call find the same"],
    )


def _resident(storage: MultimodalStorage) -> Section:
    """Memory of a process that searches, the mapped files left out."""
    samples: dict[Cell, list[float]] = {}
    for method in _RECALL:
        report = run_program("benchmarks.memory_program", [storage.path, method]).report
        samples[method, "one query"] = [report["one_mib"]]
        samples[method, "1,000 queries at once"] = [report["many_mib"]]
    return Section(
        name="resident",
        title="Memory of a search",
        note="The most anonymous memory of a fresh process while it searches, over what it had "
        "when it had opened the dataset. The mapped twin is page cache, which all processes share "
        "and the system may take back. int8 includes torch.",
        units={"one query": "MiB", "1,000 queries at once": "MiB"},
        samples=samples,
    )


def _store(storage: MultimodalStorage, rows: np.ndarray, start: int, count: int) -> float:
    """Seconds that some rows take."""
    numbers = range(start, start + count)
    ids, texts = [f"memory-{i}" for i in numbers], [f"said in minute {i}" for i in numbers]
    about = [{"minute": i, "third": i % 3, "speaker": ("ann", "bob")[i % 2]} for i in numbers]
    began = time.perf_counter()
    storage.store_text_embeddings(ids, texts, rows[start : start + count], _MODEL, about)
    return time.perf_counter() - began


def _opened(path: Path) -> float:
    return 1e3 * timed(lambda: MultimodalStorage(path).count(_MODALITY))


def _size(storage: MultimodalStorage, part: str) -> float:
    return float(sum(f.stat().st_size for f in (storage.path / _MODALITY / part).iterdir()))


def _ask(storage: MultimodalStorage, query: np.ndarray, **options: object) -> list[int]:
    found = storage.search(query, _MODALITY, TOP, **options)  # type: ignore[arg-type]
    return [int(match.embedding_id.removeprefix("memory-")) for match in found]  # type: ignore[union-attr]


def _timer(ask: Callable[[np.ndarray], object], queries: np.ndarray) -> Callable[[], float]:
    """Milliseconds of one query of many in a row.

    The threads of numpy's BLAS keep a core busy for 100 ms after a product, which is charged to
    nobody else.
    """
    turns = cycle(queries)

    def sample() -> float:
        ready = time.perf_counter() + _SETTLE
        while time.perf_counter() < ready:
            ask(next(turns))
        return 1e3 * timed(partial(ask, next(turns)))

    return sample


def _truth(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(q, 10) rows, nearest first, by a plain product."""
    found = [np.argsort(-(rows @ query), kind="stable")[:TOP] for query in queries[:_CHECKED]]
    return np.array(found)


def _check_recall(name: str, found: np.ndarray, truth: np.ndarray) -> str:
    """The share of the true ten that was found.

    Raises:
        WrongResultError: it is less than the method promises.
    """
    hits = [len(set(a) & set(b)) for a, b in zip(found.tolist(), truth.tolist(), strict=True)]
    recall = sum(hits) / truth.size
    least = _RECALL.get(name.removeprefix("llm_compression, "), 0.0)
    if recall < least - 1e-9:
        raise WrongResultError(f"{name} has recall {recall:.4f}, less than {least}")
    return f"recall@10 of {name}: {recall:.3f}"


def _check_batch(storage: MultimodalStorage, queries: np.ndarray, truth: np.ndarray) -> None:
    found = storage.search(queries, _MODALITY, TOP)[: len(truth)]
    ids = [[int(m.embedding_id.removeprefix("memory-")) for m in of_one] for of_one in found]  # type: ignore[union-attr]
    _check_recall("llm_compression, exact", np.array(ids), truth)
