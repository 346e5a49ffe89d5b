"""Column: an Arrow type for vectors, how rows become a table and a table's chunks rows again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """An embedding column.

    Args:
        name: as it is called in tables.
        nullable: whether a row, and an item of a list, may be null.
        binary: one fixed-size binary value a row instead of a list of numbers.
    """

    name: str
    nullable: bool
    binary: bool

    def table(self, rows: np.ndarray) -> pa.Table:
        """Rows, (n, d), as a table of this one column, without a copy."""
        import pyarrow as pa

        array = _binary(rows) if self.binary else _lists(rows, nullable=self.nullable)
        field = pa.field("embedding", array.type, nullable=self.nullable)
        schema = pa.schema([field], metadata={"dtype": str(rows.dtype)})
        return pa.table([array], schema=schema)

    def views(self, table: pa.Table) -> list[np.ndarray]:
        """Each chunk as an array of (n, d) over Arrow's own memory."""
        dtype = np.dtype(table.schema.metadata[b"dtype"].decode())
        return [_view(chunk, dtype) for chunk in table["embedding"].chunks]


LISTS = (
    Column("list, nullable", nullable=True, binary=False),
    Column("list, not null", nullable=False, binary=False),
)
BINARY = Column("binary", nullable=False, binary=True)


def column_path(column: Column) -> str:
    """What Parquet calls the column that holds the numbers."""
    return "embedding" if column.binary else "embedding.list.element"


def _lists(rows: np.ndarray, *, nullable: bool) -> pa.Array:
    import pyarrow as pa

    item = pa.field("element", pa.from_numpy_dtype(rows.dtype), nullable=nullable)
    kind = pa.list_(item, rows.shape[1])
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), type=kind)


def _binary(rows: np.ndarray) -> pa.Array:
    import pyarrow as pa

    kind = pa.binary(rows.itemsize * rows.shape[1])
    return pa.Array.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])


def _view(chunk: pa.Array, dtype: np.dtype) -> np.ndarray:
    import pyarrow as pa

    if not pa.types.is_fixed_size_binary(chunk.type):
        flat: np.ndarray = chunk.flatten().to_numpy(zero_copy_only=True)
        return flat.reshape(len(chunk), -1)
    width = chunk.type.byte_width // dtype.itemsize
    offset = chunk.offset * chunk.type.byte_width
    count = len(chunk) * width
    return np.frombuffer(chunk.buffers()[1], dtype, count, offset).reshape(len(chunk), width)
