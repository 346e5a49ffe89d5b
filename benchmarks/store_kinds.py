"""Stores for rows of an id and a vector: ours, Lance, Delta, Iceberg and DuckDB."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm_compression.memory.vector_storage import VectorStorage

if TYPE_CHECKING:
    import pyarrow as pa


class Store(ABC):
    """A store in a folder; opening it is part of what is measured."""

    @abstractmethod
    def append(self, table: pa.Table) -> None:
        """One commit of some rows."""

    @abstractmethod
    def count(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def get(self, number: int) -> np.ndarray:
        """The vector of one id, (d,)."""

    @abstractmethod
    def read(self) -> pa.Table:
        """All rows, in any order."""

    @abstractmethod
    def delete(self, number: int) -> None:
        """Remove one row."""

    @abstractmethod
    def compact(self) -> None:
        """Merge small files."""


def rows_table(first: int, rows: np.ndarray) -> pa.Table:
    """Rows, (n, d), with ids that count from ``first``."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
    return pa.table({"id": [key(first + i) for i in range(len(rows))], "embedding": vectors})


def key(number: int) -> str:
    """The id of a row."""
    return f"{number:012}"


class _Own(Store):
    """The storage of this project, which adds a source, a model, a time and metadata."""

    def __init__(self, folder: Path) -> None:
        self._storage = VectorStorage(folder)

    def append(self, table: pa.Table) -> None:
        ids = table["id"].to_pylist()
        rows = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(ids), -1)
        self._storage.store("text", ids, ids, rows)

    def count(self) -> int:
        return self._storage.count("text")

    def get(self, number: int) -> np.ndarray:
        return _vector(self._storage.query("text", embedding_ids=[key(number)]))

    def read(self) -> pa.Table:
        table = self._storage.query("text", columns=["embedding_id", "embedding"])
        return table.rename_columns(["id", "embedding"])

    def delete(self, number: int) -> None:
        self._storage.delete("text", [key(number)])

    def compact(self) -> None:
        self._storage.compact("text")


class _Lance(Store):
    """The Lance format by pylance."""

    def __init__(self, folder: Path) -> None:
        import lance

        self._uri = str(folder)
        self._dataset: Any = lance.dataset(self._uri) if any(folder.iterdir()) else None

    def append(self, table: pa.Table) -> None:
        import lance

        target = self._dataset or self._uri
        mode = "append" if self._dataset else "create"
        self._dataset = lance.write_dataset(table, target, mode=mode)

    def count(self) -> int:
        return int(self._dataset.count_rows())

    def get(self, number: int) -> np.ndarray:
        return _vector(self._dataset.to_table(filter=f"id = '{key(number)}'"))

    def read(self) -> pa.Table:
        return self._dataset.to_table()

    def delete(self, number: int) -> None:
        self._dataset.delete(f"id = '{key(number)}'")

    def compact(self) -> None:
        self._dataset.optimize.compact_files()


class _Delta(Store):
    """Delta Lake by delta-rs: Parquet and a log."""

    def __init__(self, folder: Path) -> None:
        from deltalake import DeltaTable

        self._uri = str(folder)
        self._table: Any = DeltaTable(self._uri) if any(folder.iterdir()) else None

    def append(self, table: pa.Table) -> None:
        from deltalake import DeltaTable, write_deltalake

        write_deltalake(self._table or self._uri, table, mode="append")
        self._table = self._table or DeltaTable(self._uri)

    def count(self) -> int:
        return int(self._table.to_pyarrow_dataset().count_rows())

    def get(self, number: int) -> np.ndarray:
        return _vector(_filtered(self._table.to_pyarrow_dataset(), number))

    def read(self) -> pa.Table:
        return self._table.to_pyarrow_dataset().to_table()

    def delete(self, number: int) -> None:
        self._table.delete(f"id = '{key(number)}'")

    def compact(self) -> None:
        self._table.optimize.compact()


class _Iceberg(Store):
    """Iceberg by pyiceberg with its SQLite catalog: Parquet and two layers of manifests."""

    def __init__(self, folder: Path) -> None:
        from pyiceberg.catalog.sql import SqlCatalog

        uri = f"sqlite:///{folder}/catalog.db"
        self._catalog = SqlCatalog("local", uri=uri, warehouse=f"file://{folder}")
        self._catalog.create_namespace_if_not_exists("rows")
        exists = self._catalog.table_exists("rows.rows")
        self._table: Any = self._catalog.load_table("rows.rows") if exists else None

    def append(self, table: pa.Table) -> None:
        if self._table is None:
            self._table = self._catalog.create_table("rows.rows", schema=table.schema)
        self._table.append(table)

    def count(self) -> int:
        return int(self._table.scan().count())

    def get(self, number: int) -> np.ndarray:
        found = self._table.scan(row_filter=f"id == '{key(number)}'").to_arrow()
        return _vector(found)

    def read(self) -> pa.Table:
        return self._table.scan().to_arrow()

    def delete(self, number: int) -> None:
        self._table.delete(f"id == '{key(number)}'")

    def compact(self) -> None:
        """It has none."""


class _DuckDB(Store):
    """DuckDB's own file."""

    def __init__(self, folder: Path) -> None:
        import duckdb

        self._connection = duckdb.connect(folder / "rows.duckdb")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS rows (id VARCHAR, embedding FLOAT[384])"
        )

    def append(self, table: pa.Table) -> None:
        self._connection.register("arriving", table)
        self._connection.execute("INSERT INTO rows SELECT * FROM arriving")
        self._connection.unregister("arriving")

    def count(self) -> int:
        return int(self._one("SELECT count(*) FROM rows"))

    def get(self, number: int) -> np.ndarray:
        found = self._one(f"SELECT embedding FROM rows WHERE id = '{key(number)}'")
        return np.array(found, np.float32)

    def read(self) -> pa.Table:
        return self._connection.sql("SELECT * FROM rows").to_arrow_table()

    def delete(self, number: int) -> None:
        self._connection.execute(f"DELETE FROM rows WHERE id = '{key(number)}'")

    def compact(self) -> None:
        self._connection.execute("CHECKPOINT")

    def _one(self, query: str) -> Any:
        found = self._connection.execute(query).fetchone()
        return found[0] if found else None


OWN = "llm_compression"
KINDS: dict[str, Callable[[Path], Store]] = {
    OWN: _Own,
    "Lance": _Lance,
    "Delta": _Delta,
    "Iceberg": _Iceberg,
    "DuckDB": _DuckDB,
}


def _filtered(dataset: Any, number: int) -> pa.Table:
    import pyarrow.dataset as ds

    return dataset.to_table(filter=ds.field("id") == key(number))


def _vector(table: pa.Table) -> np.ndarray:
    (vector,) = table["embedding"].to_pylist()
    return np.array(vector, np.float32)
