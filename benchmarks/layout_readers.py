"""What DuckDB, Polars and pandas make of an embedding column, and how long they take to read it."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import WrongResultError
from benchmarks.columns import BINARY, LISTS, Column, column_path
from benchmarks.measure import interleave, timed
from benchmarks.results import Section

_PLAIN: dict[str, Any] = {"compression": "none"}
_SPLIT: dict[str, Any] = {"compression": "zstd", "use_byte_stream_split": [column_path(LISTS[1])]}
_LISTS: dict[str, tuple[Column, str, dict[str, Any]]] = {
    "list of float32": (LISTS[1], "float32", _PLAIN),
    "list of float32, split, zstd": (LISTS[1], "float32", _SPLIT),
    "list of float16": (LISTS[1], "float16", _PLAIN),
}
_ALL = {**_LISTS, "binary": (BINARY, "float32", _PLAIN)}


def readers(rows: np.ndarray, folder: Path, rounds: int) -> Section:
    """Times of a whole read, and the type that each library shows."""
    paths = {name: _written(name, rows, folder) for name in _ALL}
    actions = {
        (name, library): action
        for name, path in paths.items()
        for library, action in _actions(name, path)
    }
    samples = interleave({cell: partial(_ms, act) for cell, act in actions.items()}, rounds)
    return Section(
        name="readers",
        title="Read by other libraries",
        note="The whole column as each library loads it; and in DuckDB the sum of all "
        "inner products with the first vector, in SQL straight from the file.",
        units=dict.fromkeys(["DuckDB", "Polars", "pandas", "DuckDB, inner products"], "ms"),
        samples=samples,
        checks=[_shown(name, path) for name, path in paths.items()] + [_check(paths, rows)],
    )


def _written(name: str, rows: np.ndarray, folder: Path) -> Path:
    import pyarrow.parquet as pq

    column, dtype, encoding = _ALL[name]
    path = folder / f"{name}.parquet"
    table = column.table(rows.astype(dtype))
    options = {"row_group_size": 16_384, "use_dictionary": False, "write_statistics": False}
    pq.write_table(table, path, **options, **encoding)
    return path


def _actions(name: str, path: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    import duckdb
    import pandas as pd
    import polars as pl

    yield "DuckDB", lambda: duckdb.from_parquet(str(path)).to_arrow_table()
    yield "Polars", partial(pl.read_parquet, path)
    yield "pandas", partial(pd.read_parquet, path)
    if name in _LISTS:
        yield "DuckDB, inner products", partial(_products, path)


def _products(path: Path) -> float:
    """Sum of the inner products of all rows with the first."""
    import duckdb

    vector = "embedding::FLOAT[384]"
    first = f"(SELECT {vector} FROM '{path}' LIMIT 1)"
    query = f"SELECT sum(array_inner_product({vector}, {first})) FROM '{path}'"
    found = duckdb.connect().execute(query).fetchone()
    return float(found[0]) if found else float("nan")


def _shown(name: str, path: Path) -> str:
    import duckdb
    import pandas as pd
    import polars as pl

    in_duckdb = duckdb.from_parquet(str(path)).types[0]
    in_polars = pl.read_parquet_schema(path)["embedding"]
    in_pandas = type(pd.read_parquet(path)["embedding"].iloc[0]).__name__
    return f"{name}: DuckDB shows {in_duckdb}, Polars {in_polars}, pandas {in_pandas}"


def _check(paths: dict[str, Path], rows: np.ndarray) -> str:
    expected = float((rows @ rows[0]).sum())
    for name in _LISTS:
        found = _products(paths[name])
        if abs(found / expected - 1) > 1e-3:
            raise WrongResultError(f"DuckDB adds up {found} from {name}, not {expected}")
    return "DuckDB's sums agree with numpy's within 0.1 %"


def _ms(action: Callable[[], object]) -> float:
    return timed(action) * 1000
