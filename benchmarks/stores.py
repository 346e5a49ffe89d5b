"""What holds rows best: Lance, Delta, Iceberg, DuckDB, or Parquet fragments of our own."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.captions import captions
from benchmarks.case import WrongResultError
from benchmarks.claims import Cell, Claim
from benchmarks.measure import interleave, timed
from benchmarks.process import run_program
from benchmarks.results import Section
from benchmarks.store_damage import flipped_bits
from benchmarks.store_kinds import KINDS, OWN, Store, rows_table
from benchmarks.store_trace import trace

LIBRARIES = ("deltalake", "duckdb", "numpy", "pyarrow", "pyiceberg", "pylance", "torch")
_BATCH = 1000
_TURN = 10
_GROWN = (OWN, "Lance", "Delta", "DuckDB")
_SINGLE = 50
_MODULES = {
    OWN: "llm_compression.memory.vector_storage",
    "Lance": "lance",
    "Delta": "deltalake",
    "Iceberg": "pyiceberg.catalog.sql",
    "DuckDB": "duckdb",
}
_FIRST, _LAST = "first tenth", "last tenth"
_GROWTH = {_FIRST: "ms", _LAST: "ms", "mean": "ms", "rows": "/s"} | dict.fromkeys(
    ["append 1 row", "delete", "compact"], "ms"
)


def measure(data: Path, folder: Path, *, quick: bool) -> list[Section]:
    """What commits sync, how appends and reads fare as the stores grow, and the imports."""
    rows = captions(data).vectors(20_000 if quick else 300_000)
    homes = {kind: folder / kind.replace(" ", "-") for kind in _GROWN}
    for home in homes.values():
        home.mkdir()
    stores = {kind: KINDS[kind](home) for kind, home in homes.items()}
    return [
        trace(rows, folder),
        flipped_bits(rows, folder),
        _growth(stores, rows),
        _reading(stores, homes, rows),
        _imports(2 if quick else 5),
    ]


def _growth(stores: dict[str, Store], rows: np.ndarray) -> Section:
    """Batches to all stores in turns, then single rows, deletes and a compaction."""
    samples = _batches(stores, rows)
    count = len(rows)
    for kind, store in stores.items():
        single = [rows_table(count + i, rows[i : i + 1]) for i in range(_SINGLE)]
        samples[kind, "append 1 row"] = [_ms(partial(store.append, one)) for one in single]
        samples[kind, "delete"] = [
            _ms(partial(store.delete, i)) for i in range(0, count, count // 10)
        ]
        samples[kind, "compact"] = [_ms(store.compact)]
        _check(kind, store, count + _SINGLE - len(samples[kind, "delete"]))
    return Section(
        name="growth",
        title=f"Appending {count:,} rows in batches of {_BATCH:,}",
        note=f"Rows of an id and {rows.shape[1]} float32, ten batches to each store in turns. Each "
        "commits with its defaults: see above which of them are durable. Ours adds its other "
        "columns and merges fragments as they come, which its last tenth and rows a second "
        "include; the others' compaction is timed alone, at the end.",
        units=_GROWTH,
        samples={(kind, column): samples[kind, column] for kind in stores for column in _GROWTH},
        claims=[
            Claim("1,000 rows, merges included", (OWN, "mean"), None, 100, "ms"),
            Claim("last tenth / first tenth", (OWN, _LAST), (OWN, _FIRST)),
        ],
        checks=["every store held as many rows as it was given, less the deleted"],
    )


def _batches(stores: dict[str, Store], rows: np.ndarray) -> dict[Cell, list[float]]:
    times: dict[str, list[float]] = {kind: [] for kind in stores}
    for start in range(0, len(rows), _TURN * _BATCH):
        firsts = range(start, start + _TURN * _BATCH, _BATCH)
        tables = [rows_table(first, rows[first : first + _BATCH]) for first in firsts]
        for kind, store in stores.items():
            os.sync()  # who syncs next would else wait for what another left unsynced
            times[kind] += [_ms(partial(store.append, table)) for table in tables]
    samples: dict[Cell, list[float]] = {}
    for kind, of_one in times.items():
        tenth = len(of_one) // 10
        samples[kind, _FIRST], samples[kind, _LAST] = of_one[:tenth], of_one[-tenth:]
        samples[kind, "mean"] = [sum(of_one) / len(of_one)]
        samples[kind, "rows"] = [len(rows) / sum(of_one) * 1000]
    return samples


def _reading(stores: dict[str, Store], homes: dict[str, Path], rows: np.ndarray) -> Section:
    samples: dict[Cell, list[float]] = {}
    numbers = np.random.default_rng(0).integers(1, len(rows) // 10, 10) + 1
    for kind, home in homes.items():
        del stores[kind]  # a second opening of DuckDB's file would share what the first holds
        files = [path for path in home.rglob("*") if path.is_file()]
        samples[kind, "size"] = [sum(path.stat().st_size for path in files)]
        samples[kind, "files"] = [len(files)]
    opened = interleave({kind: partial(_opened, kind, home) for kind, home in homes.items()}, 5)
    for kind, home in homes.items():
        store = KINDS[kind](home)
        samples[kind, "open and count"] = opened[kind]
        samples[kind, "get an id"] = [_ms(partial(store.get, int(n))) for n in numbers]
        for number in map(int, numbers):
            if not np.array_equal(store.get(number), rows[number]):
                raise WrongResultError(f"{kind} gives another vector for row {number}")
    return Section(
        name="reading",
        title="Opening and reading",
        note="The same stores, compacted, opened anew in a process that has imported the library.",
        units={"open and count": "ms", "get an id": "ms", "size": "bytes", "files": ""},
        samples=samples,
        claims=[Claim("open", (OWN, "open and count"), None, 100, "ms")],
        checks=["every vector that was read is the one that was written, bit for bit"],
    )


def _opened(kind: str, home: Path) -> float:
    return _ms(lambda: KINDS[kind](home).count())


def _imports(rounds: int) -> Section:
    """A process that imports the library and ends, beside one that imports nothing."""
    modules = {"nothing": "sys"} | _MODULES
    actions = {name: partial(_import_seconds, module) for name, module in modules.items()}
    times = interleave(actions, rounds)
    return Section(
        name="imports",
        title="Importing the library",
        note=f"A fresh process of Python {sys.version_info.major}.{sys.version_info.minor} that "
        "imports it and ends.",
        units={"process": "s"},
        samples={(name, "process"): of_one for name, of_one in times.items()},
    )


def _import_seconds(module: str) -> float:
    return run_program("benchmarks.programs", ["import", module]).seconds


def _check(kind: str, store: Store, expected: int) -> None:
    if (found := store.count()) != expected:
        raise WrongResultError(f"{kind} holds {found} rows, not {expected}")


def _ms(action: Callable[[], object]) -> float:
    return timed(action) * 1000
