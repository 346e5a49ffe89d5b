"""WeightWriter: tensors in, one at a time; a sealed Parquet file out."""

import hashlib
import math
import os
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llm_compression.errors import WeightTableError
from llm_compression.spec.model import ModelSpec
from llm_compression.weights import seal
from llm_compression.weights.checksum import cross_sum, fingerprint
from llm_compression.weights.manifest import problems, to_metadata
from llm_compression.weights.schema import (
    FILE_CHUNK,
    FILE_COLUMN,
    NAME_COLUMN,
    STORAGE,
    ByteRange,
    FileEntry,
    FileRole,
    Manifest,
    Provenance,
    Quantization,
    TensorEntry,
    as_arrow,
    stored_rows,
    table_schema,
)

PAGE_BYTES = 1 << 20
FOOTER_TAIL = 8  # footer length and magic
_NULL_RUN = 1 << 16


class WeightWriter:
    """Writes one weight table to ``path``; the caller makes that atomic.

    One row group a tensor or attached file, in the order of the calls. Holds no more than the
    tensor at hand: its encoded pages go to the file as they fill.
    """

    def __init__(self, path: Path, spec: ModelSpec, dtypes: list[str]) -> None:
        self._path = path
        self._spec = spec
        self._schema = table_schema(dtypes)
        self._tensors: list[TensorEntry] = []
        self._files: list[FileEntry] = []
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pq.ParquetWriter(self._sink, self._schema, **_options(self._schema))

    def __enter__(self) -> "WeightWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._sink.closed:
            self._abandon()

    def _abandon(self) -> None:
        # A failed ParquetWriter tries to write its footer when it is closed or collected; the
        # sink is closed first, and what that attempt then raises says nothing new.
        try:
            self._sink.close()
            self._writer.close()
        except (OSError, ValueError, pa.ArrowException):
            pass

    def add_tensor(
        self,
        name: str,
        raw: np.ndarray,
        dtype: str,
        shape: tuple[int, ...],
        *,
        source: str,
        source_dtype: str,
        quantization: Quantization | None = None,
    ) -> None:
        """Append one tensor; ``raw`` is uint8, its values' bytes, row-major.

        Raises:
            WeightTableError: the dtype was not declared, an axis is empty, or ``raw`` is not what
                dtype and shape ask for.
        """
        if dtype not in self._schema.names[1:-1]:
            raise WeightTableError(f"tensor {name}: dtype {dtype!r} was not declared")
        _check_values(name, raw, dtype, shape)
        stored = self._write_group(name, dtype, as_arrow(dtype, raw))
        sha = hashlib.sha256(raw.data).hexdigest()
        self._tensors.append(
            TensorEntry(name, source, dtype, source_dtype, shape, sha, stored, quantization)
        )

    def add_file(self, name: str, content: bytes, role: FileRole) -> None:
        """Append one attached file."""
        starts = range(0, max(1, len(content)), FILE_CHUNK)
        chunks = pa.array([content[i : i + FILE_CHUNK] for i in starts], pa.binary())
        stored = self._write_group(name, FILE_COLUMN, chunks)
        sha = hashlib.sha256(content).hexdigest()
        self._files.append(FileEntry(name, role, len(content), sha, stored))

    def finish(self, provenance: Provenance) -> Manifest:
        """Write the footer, seal it, and return what it says.

        Raises:
            WeightTableError: a name stands twice, or a quantisation does not fit its tensors.
        """
        if contradictions := problems(self._tensors, self._files):
            raise WeightTableError("; ".join(contradictions))
        print_ = fingerprint(self._spec, self._tensors, self._files)
        manifest = Manifest(
            self._spec, tuple(self._tensors), tuple(self._files), provenance, print_
        )
        self._writer.add_key_value_metadata(to_metadata(manifest))
        self._writer.close()
        self._sink.close()
        _seal_footer(self._path)
        return manifest

    def _write_group(self, name: str, column: str, values: pa.Array) -> ByteRange:
        start = self._sink.tell() or len(b"PAR1")
        names = pa.DictionaryArray.from_arrays(np.zeros(len(values), np.int32), pa.array([name]))
        columns = [names, *(_column(field, column, values) for field in list(self._schema)[1:])]
        table = pa.Table.from_arrays(columns, schema=self._schema)
        self._writer.write_table(table, row_group_size=len(values))
        return self._sum(start, self._sink.tell())

    def _sum(self, start: int, stop: int) -> ByteRange:
        written = np.memmap(self._path, np.uint8, "r")
        return ByteRange(start, stop, cross_sum(written, start, stop))


def _check_values(name: str, raw: np.ndarray, dtype: str, shape: tuple[int, ...]) -> None:
    wanted = stored_rows(dtype, shape) * STORAGE[dtype].row_bytes
    if not wanted or raw.nbytes != wanted:
        raise WeightTableError(
            f"tensor {name}: {dtype} {list(shape)} takes {wanted} bytes, got {raw.nbytes}; "
            "no axis may be empty"
        )
    if dtype == "int4" and math.prod(shape) % 2 and raw[-1] >> 4:
        raise WeightTableError(f"tensor {name}: the last high nibble must be 0")


def _column(field: pa.Field, column: str, values: pa.Array) -> pa.Array | pa.ChunkedArray:
    if field.name == column:
        return values
    # One short run of nulls, many times: a column that is not used costs no memory.
    runs, rest = divmod(len(values), _NULL_RUN)
    run, last = pa.nulls(min(len(values), _NULL_RUN), field.type), pa.nulls(rest, field.type)
    return pa.chunked_array([run] * runs + [last], field.type)


def _options(schema: pa.Schema) -> dict[str, object]:
    names = schema.names[1:]
    options: dict[str, object] = {
        "compression": "zstd",
        "compression_level": {name: 19 if name == FILE_COLUMN else 1 for name in schema.names},
        "use_dictionary": [NAME_COLUMN],
        "write_statistics": False,
        "data_page_size": PAGE_BYTES,
        "column_encoding": {
            name: "BYTE_STREAM_SPLIT" if name in STORAGE and STORAGE[name].split else "PLAIN"
            for name in names
        },
    }
    if int(pa.__version__.split(".")[0]) >= 23:
        # From 23 on a page ends after 20,000 rows unless told otherwise; so small a page mixes
        # the byte planes within one zstd block, and the split gains nothing.
        options["max_rows_per_page"] = 2**31 - 1
    return options


def _seal_footer(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(-FOOTER_TAIL, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        start = file.seek(-FOOTER_TAIL - length, os.SEEK_END)
        footer = file.read()
        for place in seal.places(footer):
            file.seek(start + place)
            file.write(seal.digest(footer).encode())
