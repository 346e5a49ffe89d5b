"""Any Parquet reader opens a weight table as numbers: DuckDB, Polars and bare pyarrow."""

from pathlib import Path

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.reader import WeightTable
from tests.format.test_golden import GOLDEN
from tests.weights.weight_tables import every_dtype, of_values

Row = tuple[int, float | None, float | None]
QUERY = """
    SELECT tensor, count(*) AS n, avg(float32) AS mean, stddev(float32) AS deviation
    FROM {table} GROUP BY tensor
"""


def by_duckdb(path: Path) -> dict[str, Row]:
    rows = duckdb.sql(QUERY.format(table=f"'{path}'")).fetchall()
    return {name: (count, mean, deviation) for name, count, mean, deviation in rows}


def by_polars(path: Path) -> dict[str, Row]:
    context = polars.SQLContext(weights=polars.scan_parquet(path))
    rows = context.execute(QUERY.format(table="weights"), eager=True).rows()
    return {name: (count, mean, deviation) for name, count, mean, deviation in rows}


READERS = pytest.mark.parametrize("read", [by_duckdb, by_polars])


@READERS
@pytest.mark.minilm
def test_statistics_of_the_real_model(read, minilm_table: Path):
    found = read(minilm_table)
    manifest = WeightTable(minilm_table).manifest
    assert set(found) == {e.name for e in [*manifest.tensors, *manifest.files]}
    for name, tensor in WeightLoader(minilm_table).load_weights().items():
        values = tensor.numpy().astype(np.float64)
        count, mean, deviation = found[name]
        assert count == values.size
        assert mean == pytest.approx(values.mean(), abs=1e-6 * np.abs(values).max())
        assert deviation == pytest.approx(values.std(ddof=1), rel=1e-5)
    for file in manifest.files:
        assert found[file.name] == (file.rows, None, None)


@pytest.fixture
def finite_table(tmp_path: Path) -> Path:
    """Every dtype, no float32 beyond all sums, and a tensor whose mean is worked by hand."""
    values = np.array([1, 2, 3, 6], np.float32)
    content = every_dtype().with_tensor("float32.bias", of_values("float32", values))
    content = content.with_tensor("float32.weight", of_values("float32", values))
    content.write(tmp_path / "finite.parquet")
    return tmp_path / "finite.parquet"


@READERS
def test_statistics_beside_every_other_dtype(read, finite_table: Path):
    count, mean, deviation = read(finite_table)["float32.bias"]
    assert (count, mean) == (4, 3.0)
    assert deviation == pytest.approx((14 / 3) ** 0.5)
    assert read(finite_table)["int8.weight"] == (60 * 24, None, None)


def numbers_by_duckdb(column: str, name: str) -> list:
    """One tensor of the golden file, rows in file order."""
    query = f"SELECT {column} FROM '{GOLDEN}' WHERE tensor = $1 AND {column} IS NOT NULL"
    return [row[0] for row in duckdb.execute(query, [name]).fetchall()]


def numbers_by_polars(column: str, name: str) -> list:
    rows = polars.scan_parquet(GOLDEN).select("tensor", column).drop_nulls()
    return rows.filter(polars.col("tensor") == name).collect()[column].to_list()


def numbers_by_pyarrow(column: str, name: str) -> list:
    rows = pq.read_table(GOLDEN, columns=["tensor", column]).to_pylist()
    return [row[column] for row in rows if row["tensor"] == name and row[column] is not None]


NUMBERS = {
    ("float32", "int4.scale"): [1.0, 2.0, 0.5, 4.0],
    ("int64", "int64"): [-1, 2**40],
    ("int32", "int32"): [7, -(2**31)],
    ("int8", "int8"): [1, -128, 127, 0],
    ("int4", "int4.odd"): [0x10, 0x32, 0x04],
    ("file", "long.txt"): [b"0123456789abcdef" * 65_536, b"0123456789abcdef" * 4_464],
    ("float16", "float16"): [1.0, -2.0, 65504.0, 2.0**-24],
    ("bfloat16", "bfloat16"): [0x3F80, 0xC000, 0x7F7F, 0x7FC1],
}
# Which readers decode byte-stream-split pages of what; the standard names the releases.
UNREAD = {
    numbers_by_duckdb: {"float16"}
    if int(duckdb.__version__.split(".")[0]) >= 2
    else {"float16", "bfloat16", "int64", "int32"},
    numbers_by_polars: set() if int(polars.__version__.split(".")[0]) >= 2 else {"float16"},
    numbers_by_pyarrow: set(),
}
READABLE = [
    (read, column, name)
    for read, unread in UNREAD.items()
    for column, name in NUMBERS
    if column not in unread
]


@pytest.mark.parametrize(("read", "column", "name"), READABLE)
def test_each_dtype_is_a_column_of_numbers(read, column: str, name: str):
    assert read(column, name) == NUMBERS[column, name]


def test_bfloat16_is_the_upper_half_of_a_float32():
    bits = np.array(numbers_by_polars("bfloat16", "bfloat16"), np.uint32) << 16
    assert bits.view(np.float32)[:3].tolist() == [1.0, -2.0, 3.3895313892515355e38]


def test_the_schema_is_the_documented_one():
    name = pa.dictionary(pa.int32(), pa.string())
    columns = [
        ("float32", pa.float32()), ("float16", pa.float16()), ("bfloat16", pa.uint16()),
        ("int64", pa.int64()), ("int32", pa.int32()), ("int8", pa.int8()), ("int4", pa.uint8()),
        ("file", pa.binary()),
    ]  # fmt: skip
    wanted = pa.schema([pa.field("tensor", name, nullable=False), *columns])
    assert pq.read_schema(GOLDEN).remove_metadata().equals(wanted)


@pytest.mark.minilm
def test_pages_are_split_into_bytes_and_compressed(minilm_table: Path):
    chunk = pq.read_metadata(minilm_table).row_group(0).column(1)
    assert chunk.path_in_schema == "float32"
    assert chunk.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in chunk.encodings
