"""Columns and metadata of a weight table, version 1; `docs/format.md` is the standard."""

import math
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from llm_compression.errors import SpecError
from llm_compression.spec.model import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT_VERSION = 1
MODEL_FILE = "model.parquet"  # what a weight table in a folder is called
PREFIX = "llm_compression."
NAME_COLUMN = "tensor"
FILE_COLUMN = "file"
FILE_CHUNK = 1 << 20  # an attached file is cut into rows of this many bytes


@dataclass(frozen=True)
class StorageType:
    """How one dtype is stored: a column named after it, ``row_bytes`` bytes in each row."""

    arrow_name: str
    row_bytes: int
    per_row: int = 1
    split: bool = True  # BYTE_STREAM_SPLIT, which gains on floats only

    @property
    def arrow(self) -> "pa.DataType":
        """The type of the column."""
        import pyarrow as pa  # which a mapped copy is opened without

        return pa.type_for_alias(self.arrow_name)


STORAGE: dict[str, StorageType] = {
    "float32": StorageType("float32", 4),
    "float16": StorageType("float16", 2),
    "bfloat16": StorageType("uint16", 2),
    "int64": StorageType("int64", 8, split=False),
    "int32": StorageType("int32", 4, split=False),
    "int8": StorageType("int8", 1, split=False),
    "int4": StorageType("uint8", 1, per_row=2, split=False),
}


class FileRole(Enum):
    """Why a file is attached; only the first two are part of the model's identity."""

    TOKENIZER = "tokenizer"
    PREPROCESSING = "preprocessing"
    SOURCE = "source"


@dataclass(frozen=True)
class Quantization:
    """Affine quantisation: ``value = (stored - zero_point) * scale``.

    ``group_size`` consecutive elements along ``axis`` share one scale, so the scale's shape is
    the tensor's with ``shape[axis]`` divided by ``group_size``. ``scale`` and ``zero_point``
    name further tensors of the table; no ``zero_point`` means 0.
    """

    axis: int
    group_size: int
    scale: str
    zero_point: str | None = None


@dataclass(frozen=True)
class ByteRange:
    """Bytes ``[start, stop)`` of the file: one row group, with its `cross_sum`."""

    start: int
    stop: int
    checksum: str


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: ``sha256`` is of its values, little-endian and row-major."""

    name: str
    source: str
    dtype: str
    source_dtype: str
    shape: tuple[int, ...]
    sha256: str
    stored: ByteRange
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        if self.dtype not in STORAGE:
            raise SpecError(f"tensor {self.name} has dtype {self.dtype!r}, not of {list(STORAGE)}")
        if any(size < 1 for size in self.shape):
            raise SpecError(
                f"tensor {self.name} has shape {list(self.shape)}; no axis may be empty"
            )

    @cached_property
    def rows(self) -> int:
        """Rows of the table that hold this tensor."""
        return stored_rows(self.dtype, self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded values."""
        return self.rows * STORAGE[self.dtype].row_bytes


@dataclass(frozen=True)
class FileEntry:
    """One attached file."""

    name: str
    role: FileRole
    size: int
    sha256: str
    stored: ByteRange

    @property
    def rows(self) -> int:
        """Rows of the table that hold this file; an empty file still has one."""
        return max(1, math.ceil(self.size / FILE_CHUNK))


@dataclass(frozen=True)
class SourceFile:
    """A file of the checkpoint, for provenance."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Dropped:
    """A tensor of the checkpoint that the weight table leaves out, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Provenance:
    """Where the model came from; not part of its identity."""

    source: str
    revision: str | None
    architecture: str
    converter: str
    files: tuple[SourceFile, ...]
    dropped: tuple[Dropped, ...]


@dataclass(frozen=True)
class Manifest:
    """Everything that a weight table says about itself, besides the values."""

    spec: ModelSpec
    tensors: tuple[TensorEntry, ...]
    files: tuple[FileEntry, ...]
    provenance: Provenance
    fingerprint: str

    def entries(self) -> "list[TensorEntry | FileEntry]":
        """What the row groups hold, in file order."""
        return [*self.tensors, *self.files]

    def columns(self) -> list[str]:
        """Storage columns in file order."""
        used = {entry.dtype for entry in self.tensors}
        return [dtype for dtype in STORAGE if dtype in used]


def stored_rows(dtype: str, shape: tuple[int, ...]) -> int:
    """Rows that ``shape`` takes when stored as ``dtype``."""
    return math.ceil(math.prod(shape) / STORAGE[dtype].per_row)


def table_schema(dtypes: list[str]) -> "pa.Schema":
    """The Arrow schema of a weight table that stores ``dtypes``."""
    import pyarrow as pa

    name = pa.field(NAME_COLUMN, pa.dictionary(pa.int32(), pa.string()), nullable=False)
    columns = [pa.field(dtype, STORAGE[dtype].arrow) for dtype in STORAGE if dtype in dtypes]
    return pa.schema([name, *columns, pa.field(FILE_COLUMN, pa.binary())])


def as_arrow(dtype: str, raw: np.ndarray) -> "pa.Array":
    """``raw`` (uint8, the values' bytes) as the Arrow array of its column, without a copy."""
    import pyarrow as pa

    storage = STORAGE[dtype]
    return pa.Array.from_buffers(
        storage.arrow, len(raw) // storage.row_bytes, [None, pa.py_buffer(raw)]
    )
