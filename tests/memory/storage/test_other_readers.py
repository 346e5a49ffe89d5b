"""DuckDB, Polars and bare pyarrow read live rows from the fragments once they are compacted."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import polars
import pyarrow.dataset as ds
import pytest

from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.storage.steps import held, put, vectors

N = 50


@pytest.fixture
def compacted(dtype: str, tmp_path: Path) -> VectorStorage:
    storage = VectorStorage(tmp_path, dtype=dtype)
    made = np.random.default_rng(0).standard_normal((N, 6))
    for rows in (slice(0, 20), slice(20, N)):
        ids = [f"id {i}" for i in range(N)][rows]
        metadata = [{"n": i} for i in range(N)][rows]
        storage.store("text", ids, ids, made[rows], model="m", metadata=metadata)
    storage.delete("text", ["id 3", "id 30"])
    storage.compact()
    return storage


def by_duckdb(pattern: str) -> dict[str, tuple]:
    """Ids with n, scale and the embedding."""
    rows = duckdb.sql(f"SELECT embedding_id, metadata->>'n', scale, embedding FROM '{pattern}'")
    return {one: (int(n), scale, embedding) for one, n, scale, embedding in rows.fetchall()}


def by_polars(pattern: str) -> dict[str, tuple]:
    n = polars.col("metadata").str.json_path_match("$.n")
    table = polars.scan_parquet(pattern).select("embedding_id", n, "scale", "embedding").collect()
    return {one: (int(n), scale, vector) for one, n, scale, vector in table.rows()}


def by_pyarrow(pattern: str) -> dict[str, tuple]:
    table = ds.dataset(str(Path(pattern).parent)).to_table()
    return {
        row["embedding_id"]: (json.loads(row["metadata"])["n"], row["scale"], row["embedding"])
        for row in table.to_pylist()
    }


def cases() -> Iterator[tuple[Callable[[str], dict[str, tuple]], str]]:
    """Readers and what they can read; DuckDB and Polars know float16 from release 2 on."""
    for read, library in ((by_duckdb, duckdb), (by_polars, polars), (by_pyarrow, None)):
        yield from ((read, dtype) for dtype in ("float32", "int8"))
        if library is None or int(library.__version__.split(".")[0]) >= 2:
            yield read, "float16"


@pytest.mark.parametrize(("read", "dtype"), list(cases()))
def test_live_rows_are_read(read: Callable[[str], dict[str, tuple]], compacted: VectorStorage):
    pattern = str(compacted.path / "text" / "data" / "*.parquet")
    rows = compacted.query("text")
    wanted = dict(zip(rows["embedding_id"].to_pylist(), vectors(rows["embedding"]), strict=True))
    found = read(pattern)
    assert set(found) == set(wanted) == {f"id {i}" for i in range(N) if i not in (3, 30)}
    for one, (n, scale, embedding) in found.items():
        assert one == f"id {n}"
        packed = isinstance(embedding, bytes)
        numbers = np.frombuffer(embedding, np.int8) if packed else np.array(embedding, np.float32)
        assert np.array_equal(numbers * np.float32(1 if scale is None else scale), wanted[one])


def test_live_rows_are_read_with_the_manifest_before_compaction(tmp_path: Path):
    """As `docs/storage.md` says."""
    storage = VectorStorage(tmp_path, auto_compact=False)
    for start in (0, 10):
        put(storage, [str(i) for i in range(start, start + 10)])
    storage.delete("text", ["3", "4"])
    put(storage, ["5"], 1, replace=True)
    found = []
    folder = tmp_path / "text"
    for entry in json.loads((folder / "manifest.json").read_text())["fragments"]:
        live = f"SELECT embedding_id FROM read_parquet('{folder}/data/{entry['file']['name']}', "
        live += "file_row_number = true)"
        if entry["deleted"]:
            dead = f"SELECT row FROM '{folder}/deleted/{entry['deleted']['name']}'"
            live += f" WHERE file_row_number NOT IN ({dead})"
        found += [one for (one,) in duckdb.sql(live).fetchall()]
    assert found == list(held(storage))
