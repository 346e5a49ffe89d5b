"""How a Parquet file should hold an embedding column: types, encodings, row groups, precisions."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.captions import Captions, captions
from benchmarks.case import WrongResultError
from benchmarks.claims import Cell, Claim
from benchmarks.columns import BINARY, LISTS, Column, column_path
from benchmarks.measure import interleave, timed
from benchmarks.results import Section

LIBRARIES = ("duckdb", "numpy", "pandas", "polars", "pyarrow", "torch")
_APPEND = 1000
_TOP = 10
_GROUPS = (4096, 16_384, 65_536)
_ENCODINGS: Mapping[str, dict[str, Any]] = {
    "plain": {"compression": "none"},
    "zstd 1": {"compression": "zstd", "compression_level": 1},
    "zstd 3": {"compression": "zstd", "compression_level": 3},
    "split, zstd 1": {"compression": "zstd", "compression_level": 1, "split": True},
}
_UNITS = {
    "size": "bytes",
    "write": "ms",
    "write 1,000 rows": "ms",
    "read": "ms",
    "read with 2 threads": "ms",
    "read a row group": "ms",
    "read 10 random rows": "ms",
}
_LIST, _PLAIN_LIST = LISTS[0], LISTS[1]


@dataclass(frozen=True)
class _Variant:
    """One way to write the column, and the rows it holds."""

    column: Column
    encoding: str
    group: int
    rows: np.ndarray
    folder: Path

    @property
    def path(self) -> Path:
        """The file that is measured."""
        words = [self.rows.dtype, self.column.name, self.encoding, self.group]
        return self.folder / f"{'-'.join(map(str, words))}.parquet"

    def write(self, path: Path, count: int | None = None) -> None:
        """Write the first ``count`` rows, without a sync."""
        import pyarrow.parquet as pq

        options = {**_ENCODINGS[self.encoding]}
        split = [column_path(self.column)] if options.pop("split", False) else False
        pq.write_table(
            self.column.table(self.rows[:count]),
            path,
            row_group_size=self.group,
            use_dictionary=False,
            write_statistics=False,
            use_byte_stream_split=split,
            **options,
        )

    def read(self, *, dataset: bool = False) -> list[np.ndarray]:
        """The column as (n, d) views of what was decoded, no copies after that."""
        import pyarrow.dataset as ds
        import pyarrow.parquet as pq

        table = ds.dataset(self.path).to_table() if dataset else pq.read_table(self.path)
        return self.column.views(table)

    def read_group(self, number: int) -> list[np.ndarray]:
        """One row group."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            return self.column.views(file.read_row_group(number))

    def read_rows(self, numbers: np.ndarray) -> np.ndarray:
        """Some rows, of the row groups that hold them, (len(numbers), d)."""
        import pyarrow.parquet as pq

        found = np.empty((len(numbers), self.rows.shape[1]), self.rows.dtype)
        with pq.ParquetFile(self.path) as file:
            for group in np.unique(numbers // self.group):
                within = np.flatnonzero(numbers // self.group == group)
                block = np.concatenate(self.column.views(file.read_row_group(int(group))))
                found[within] = block[numbers[within] % self.group]
        return found


def measure(data: Path, folder: Path, *, quick: bool) -> list[Section]:
    """Layouts with their encodings, row group sizes, precisions, and what other tools show."""
    source = captions(data)
    rows = source.vectors(10_000 if quick else 100_000)
    rounds = 2 if quick else 5
    from benchmarks.layout_readers import readers  # its libraries belong to an extra

    return [
        _layouts(rows, folder, rounds),
        _row_groups(rows, folder, rounds),
        _precisions(source, rows, folder, rounds),
        readers(rows, folder, rounds),
    ]


def _layouts(rows: np.ndarray, folder: Path, rounds: int) -> Section:
    variants = {
        f"{column.name}, {encoding}": _Variant(column, encoding, _GROUPS[1], rows, folder)
        for column, encoding in product([*LISTS, BINARY], _ENCODINGS)
    }
    base = f"{_PLAIN_LIST.name}, plain"
    return Section(
        name="layouts",
        title="Layout and encoding",
        note=f"{len(rows):,} x {rows.shape[1]} float32 in row groups of {_GROUPS[1]:,}, no "
        "statistics, no dictionary, nothing synced; read from the page cache into arrays of "
        "(n, d). *split*: BYTE_STREAM_SPLIT.",
        units=_UNITS,
        samples=_sampled(variants, rounds),
        claims=[
            Claim(f"{name} / {base}, {what}", (name, what), (base, what))
            for name, what in [
                (f"{_LIST.name}, plain", "read"),
                (f"{BINARY.name}, plain", "read"),
                (f"{_PLAIN_LIST.name}, split, zstd 1", "read"),
                (f"{_PLAIN_LIST.name}, split, zstd 1", "size"),
            ]
        ],
        checks=[f"each read gave the {len(rows):,} rows that were written, bit for bit"],
    )


def _row_groups(rows: np.ndarray, folder: Path, rounds: int) -> Section:
    chosen = [(_PLAIN_LIST, "plain"), (_PLAIN_LIST, "split, zstd 1"), (BINARY, "plain")]
    variants = {
        f"{column.name}, {encoding}, {group:,}": _Variant(column, encoding, group, rows, folder)
        for (column, encoding), group in product(chosen, _GROUPS)
    }
    return Section(
        name="row_groups",
        title="Rows in a row group",
        note="As above.",
        units=_UNITS,
        samples=_sampled(variants, rounds),
    )


def _precisions(source: Captions, rows: np.ndarray, folder: Path, rounds: int) -> Section:
    """float16 and int8 with a scale a row: what they save and which neighbours they lose."""
    narrow = {
        "float32": (rows, rows),
        "float16": (rows.astype(np.float16), rows.astype(np.float16).astype(np.float32)),
        "int8": _int8(rows),
    }
    variants = {
        f"{name} {column.name}, {encoding}": _Variant(column, encoding, _GROUPS[1], kept, folder)
        for name, (kept, _) in narrow.items()
        for column, encoding in product([_PLAIN_LIST, BINARY], ["plain", "zstd 1"])
    }
    samples = _sampled(variants, rounds)
    exact = _nearest(rows, source.queries)
    for name in variants:
        decoded = narrow[name.split()[0]][1]
        samples[name, "recall@10"] = [recall(_nearest(decoded, source.queries), exact)]
    return Section(
        name="precisions",
        title="Precision",
        note=f"As above. Recall@10 of {len(source.queries):,} held-out captions against float32. "
        "int8: each row divided by its largest magnitude, times 127; the scale is one more "
        "float32 a row, not counted here.",
        units=_UNITS | {"recall@10": "x"},
        samples=samples,
    )


def _sampled(variants: Mapping[str, _Variant], rounds: int) -> dict[Cell, list[float]]:
    """All times of all variants, one of each a round, and the sizes."""
    for variant in variants.values():
        variant.write(variant.path)
        _check(variant)
    actions = {
        (name, what): partial(_milliseconds, action)
        for name, variant in variants.items()
        for what, action in _actions(variant)
    }
    times: dict[Cell, list[float]] = interleave(actions, rounds)
    for name, variant in variants.items():
        times[name, "size"] = [variant.path.stat().st_size]
        variant.path.unlink()
    return {(name, what): times[name, what] for name in variants for what in _UNITS}


def _actions(variant: _Variant) -> Iterator[tuple[str, Callable[[], object]]]:
    numbers = np.random.default_rng(0).choice(len(variant.rows), _TOP, replace=False)
    whole, part = (variant.folder / f"{name}.parquet" for name in ("whole", "part"))
    yield "write", partial(variant.write, whole)
    yield "write 1,000 rows", partial(variant.write, part, _APPEND)
    yield "read", variant.read
    yield "read with 2 threads", partial(variant.read, dataset=True)
    yield "read a row group", partial(variant.read_group, 0)
    yield "read 10 random rows", partial(variant.read_rows, numbers)


def _check(variant: _Variant) -> None:
    numbers = np.arange(0, len(variant.rows), len(variant.rows) // _TOP)
    found = [np.concatenate(variant.read(dataset=dataset)) for dataset in (False, True)]
    right = all(np.array_equal(rows, variant.rows) for rows in found)
    if not right or not np.array_equal(variant.read_rows(numbers), variant.rows[numbers]):
        raise WrongResultError(f"{variant.path.name} was read back as other values")


def _milliseconds(action: Callable[[], object]) -> float:
    return timed(action) * 1000


def _int8(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is stored, and the float32 that it stands for; both (n, d)."""
    scale = np.abs(rows).max(axis=1, keepdims=True) / 127
    kept = np.rint(rows / scale).astype(np.int8)
    return kept, kept * scale


def _nearest(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Numbers of the ten rows nearest to each query, in no order, (Q, 10)."""
    found: np.ndarray = np.argpartition(-(queries @ rows.T), _TOP, axis=1)[:, :_TOP]
    return found


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """The share of the exact neighbours that were found; both (Q, k)."""
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, exact, strict=True))
    return hits / exact.size
