"""Twin: a fragment as uncompressed Arrow, memory-mapped, which is what searches read."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from llm_compression.guard import Guard
from llm_compression.memory.search.kernels import OFFSET
from llm_compression.memory.search.sidecar import mapped_table
from llm_compression.memory.storage.fragment import Fragment
from llm_compression.memory.storage.layout import (
    EMBEDDING,
    SCALE,
    decode_vectors,
    encode_vectors,
    lengths,
    to_int8,
)

SMALL = 2_048  # rows of a fragment that is rather decoded than given a file
_LENGTH = "length"
_UNIT = 5e-7  # lengths this near to 1 change a cosine by no more than float32 rounds it


class Twin:
    """All columns of a fragment, ``vectors`` as one float32 matrix.

    Args:
        fragment: of which it is made once, then mapped by every process.

    Raises:
        DamagedStorageError: the fragment's bytes are not those that were written.
    """

    def __init__(self, fragment: Fragment) -> None:
        self.fragment = fragment
        build = functools.partial(_decoded, fragment)
        small = fragment.entry.file.rows <= SMALL
        self._table = build() if small else mapped_table(fragment, "twin", build)
        column = _whole(self._table[EMBEDDING])
        n, d = len(column), column.type.list_size
        self.vectors: np.ndarray = column.flatten().to_numpy().reshape(n, d)
        stored = _whole(self._table[_LENGTH]).to_numpy()
        self._lengths = None if (np.abs(stored - 1) <= _UNIT).all() else stored
        self._prefixes: dict[int, np.ndarray] = {}
        self._opened: dict[str, pa.Table] = {}
        self._guard = Guard()

    def lengths(self, dim: int) -> np.ndarray | None:
        """Lengths (n,) of the first ``dim`` of each vector; None if all are 1."""
        if dim == self.vectors.shape[1]:
            return self._lengths
        if dim not in self._prefixes:
            self._prefixes[dim] = lengths(self.vectors[:, :dim])
        return self._prefixes[dim]

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of all rows."""
        return self._table.select(list(columns))

    def value(self, row: int, column: str) -> pa.Scalar:
        """What stands in a column of one row."""
        return self._table[column][row]

    @property
    def int8(self) -> tuple[np.ndarray, np.ndarray]:
        """Codes (n, d) uint8 and scales (n,); (codes - 128) * scales is near to ``vectors``."""
        table = self._made_once("uint8", self._to_int8)
        codes = _bytes_matrix(table["codes"].chunk(0), np.uint8)
        return codes, table["scales"].chunk(0).to_numpy()

    @property
    def bits(self) -> np.ndarray:
        """Signs of ``vectors``, packed: (n, ceil(d / 64)) uint64."""
        table = self._made_once("bits", self._to_bits)
        return _bytes_matrix(table["bits"].chunk(0), np.uint64)

    def first_pass(self, method: str) -> None:
        """Make what a search by this method reads first."""
        if method == "int8":
            _ = self.int8
        elif method == "binary":
            _ = self.bits

    def _made_once(self, kind: str, build: Callable[[], pa.Table]) -> pa.Table:
        """What a first pass reads, made by one thread where several ask."""
        with self._guard.lock:
            if kind not in self._opened:
                self._opened[kind] = mapped_table(self.fragment, kind, build)
            return self._opened[kind]

    def _to_int8(self) -> pa.Table:
        codes, scales = to_int8(self.vectors)
        codes = codes.view(np.uint8) ^ np.uint8(OFFSET)  # which adds it
        return pa.table({"codes": _binary(codes), "scales": pa.array(scales)})

    def _to_bits(self) -> pa.Table:
        return pa.table({"bits": _binary(sign_bits(self.vectors))})


def sign_bits(vectors: np.ndarray) -> np.ndarray:
    """(n, d) -> (n, ceil(d / 64)) uint64, a bit for each value above 0."""
    packed = np.packbits(vectors > 0, axis=1)
    padded = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)


def _decoded(fragment: Fragment) -> pa.Table:
    n = fragment.entry.file.rows
    vectors, parts, start = np.empty((n, fragment.identity.dimension), np.float32), [], 0
    for table in fragment.batches(np.arange(n)):  # not all at once: that is twice the memory
        embedding, scale = (table[name].combine_chunks() for name in (EMBEDDING, SCALE))
        vectors[start : start + len(table)] = decode_vectors(embedding, scale)
        parts.append(table.drop_columns([EMBEDDING, SCALE]))
        start += len(table)
    others = pa.concat_tables(parts).combine_chunks()
    beside = others.append_column(_LENGTH, pa.array(lengths(vectors)))
    whole = beside.append_column(EMBEDDING, encode_vectors(vectors, "float32")[0])
    return whole.replace_schema_metadata(None)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; it has several where strings beside it are beyond 2 GiB."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _binary(matrix: np.ndarray) -> pa.Array:
    rows = np.ascontiguousarray(matrix)
    kind = pa.binary(rows.shape[1] * rows.itemsize)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])


def _bytes_matrix(column: pa.Array, dtype: type) -> np.ndarray:
    """(n, width) of a column of bytes, a view."""
    width = column.type.byte_width // np.dtype(dtype).itemsize
    values: np.ndarray = np.frombuffer(column.buffers()[1], dtype)
    start = column.offset * width
    return values[start : start + len(column) * width].reshape(len(column), width)
