"""WeightTable: an opened Parquet weight table; the only code that reads its pages."""

import hashlib
import mmap
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from llm_compression.errors import (
    CorruptWeightTableError,
    NotAWeightTableError,
    TensorNotFoundError,
)
from llm_compression.files.paths import user_path
from llm_compression.weights import seal
from llm_compression.weights.checksum import cross_sum
from llm_compression.weights.manifest import KEYS, from_metadata, identify
from llm_compression.weights.schema import (
    FILE_COLUMN,
    STORAGE,
    FileEntry,
    FileRole,
    Manifest,
    TensorEntry,
    table_schema,
)
from llm_compression.weights.table_file import (
    MAGIC,
    key_values,
    map_table,
    split_footer,
    table_path,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_TASK_BYTES = 8 << 20  # row groups are decoded together up to this many bytes


class WeightTable:
    """One weight table, mapped read-only; nothing is decoded until it is asked for.

    Opening checks the seal of the footer; the first look at the manifest, that it names every byte
    of the file; the first decoding, that row groups and schema are those of the manifest. With
    ``verify`` every row group's `cross_sum` is checked before a decoder sees it. So every bit of
    the file is checked before it is used.

    Raises:
        WeightTableNotFoundError, NotAWeightTableError, UnsupportedVersionError,
        CorruptWeightTableError: the file cannot be used; the message says why.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = True) -> None:
        self.path = table_path(user_path(path))
        self.verify = verify
        self._map = map_table(self.path)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._pairs, self._footer_start = self._open_footer()
        self.fingerprint = identify(self._pairs, str(self.path))

    @cached_property
    def manifest(self) -> Manifest:
        """What the table says about itself.

        Raises:
            CorruptWeightTableError: it contradicts the file.
        """
        manifest = from_metadata(self._pairs, str(self.path))
        position = len(MAGIC)
        for entry in manifest.entries():
            if entry.stored.start != position or entry.stored.stop < position:
                raise self._corrupt(f"{entry.name}: its bytes do not follow the row group before")
            position = entry.stored.stop
        if position != self._footer_start:
            raise self._corrupt("the row groups, which are not those of the manifest")
        return manifest

    @cached_property
    def _groups(self) -> dict[int, int]:
        """Row group by the byte where it starts."""
        return {entry.stored.start: i for i, entry in enumerate(self.manifest.entries())}

    @cached_property
    def _metadata(self) -> "pq.FileMetaData":
        """The footer as pyarrow reads it; it must say what the manifest says."""
        import pyarrow as pa  # which a mapped copy is opened without
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_metadata(pa.BufferReader(pa.py_buffer(self._bytes)))
        except (OSError, pa.ArrowException) as error:
            raise self._corrupt(f"the footer (from byte {self._footer_start})") from error
        if not self._pairs.items() <= (metadata.metadata or {}).items():
            raise self._corrupt("the footer, whose metadata is not what stands there")
        rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        if rows != [entry.rows for entry in self.manifest.entries()]:
            raise self._corrupt("the row groups, which are not those of the manifest")
        found = _plain(metadata.schema.to_arrow_schema())
        if not found.equals(_plain(table_schema(self.manifest.columns()))):
            raise self._corrupt("the schema, which is not that of a weight table")
        return metadata

    @cached_property
    def _entries(self) -> dict[str, TensorEntry]:
        return {entry.name: entry for entry in self.manifest.tensors}

    def entry(self, name: str) -> TensorEntry:
        """What the manifest says of one tensor.

        Raises:
            TensorNotFoundError: no such tensor.
        """
        try:
            return self._entries[name]
        except KeyError:
            raise TensorNotFoundError(
                f"{self.path} has no tensor {name!r}; `llm-compression inspect` lists them"
            ) from None

    def read_tensors(self, names: Sequence[str], *, threads: int = 1) -> "dict[str, pa.Array]":
        """Decode tensors, each a flat slice of an Arrow array, on ``threads`` threads.

        Raises:
            TensorNotFoundError: no such tensor.
            CorruptWeightTableError: stored bytes differ from those written.
        """
        limit = _TASK_BYTES if threads > 1 else sys.maxsize  # each task costs a tenth of a ms
        tasks = _tasks([self.entry(name) for name in names], limit)
        self._metadata  # noqa: B018  parsed once, not by every thread
        if threads <= 1 or len(tasks) == 1:
            decoded = [self._read_task(task) for task in tasks]
        else:
            with ThreadPoolExecutor(threads) as pool:
                decoded = list(pool.map(self._read_task, tasks))
        found = {name: array for part in decoded for name, array in part.items()}
        return {name: found[name] for name in names}

    def stream(self) -> "Iterator[tuple[TensorEntry, pa.Array]]":
        """Every tensor in file order, one in memory at a time; raises as `read_tensors`."""
        for entry in self.manifest.tensors:
            yield entry, self.read_tensors([entry.name])[entry.name]

    def read_file(self, name: str) -> bytes:
        """The content of an attached file.

        Raises:
            TensorNotFoundError: no such file.
            CorruptWeightTableError: stored bytes differ from those written.
        """
        entry = next((f for f in self.manifest.files if f.name == name), None)
        if entry is None:
            attached = [f.name for f in self.manifest.files]
            raise TensorNotFoundError(f"{self.path} has no attached file {name!r}, only {attached}")
        chunks = self._decode(FILE_COLUMN, [entry])
        content = b"".join(chunks.to_pylist())
        if len(content) != entry.size:
            raise self._corrupt(f"attached file {name}")
        return content

    def read_role(self, role: FileRole) -> bytes:
        """The content of the first attached file of a role; raises as `read_file` does."""
        for file in self.manifest.files:
            if file.role is role:
                return self.read_file(file.name)
        raise TensorNotFoundError(
            f"{self.path} has no {role.value} file attached; convert the model again"
        )

    def verify_all(self) -> None:
        """Check every byte of the file, and every value against its SHA-256.

        Raises:
            CorruptWeightTableError: the first damage found.
        """
        self.check_ranges(self.manifest.entries())
        for entry, array in self.stream():
            if hashlib.sha256(raw_values(array, entry.dtype).data).hexdigest() != entry.sha256:
                raise self._corrupt(f"tensor {entry.name}: the values are not those converted")
        for file in self.manifest.files:
            if hashlib.sha256(self.read_file(file.name)).hexdigest() != file.sha256:
                raise self._corrupt(f"attached file {file.name}")

    def check_ranges(self, entries: Iterable[TensorEntry | FileEntry]) -> None:
        """Compare the stored bytes of ``entries`` with their checksums.

        Raises:
            CorruptWeightTableError: they differ.
        """
        for entry in entries:
            stored = entry.stored
            if cross_sum(self._bytes, stored.start, stored.stop) != stored.checksum:
                raise self._corrupt(f"{entry.name} (bytes {stored.start} to {stored.stop})")

    def _read_task(self, entries: list[TensorEntry]) -> "dict[str, pa.Array]":
        array = self._decode(entries[0].dtype, entries)
        for entry in entries:
            self._let_go(entry)
        starts = np.cumsum([0] + [e.rows for e in entries])
        return {
            e.name: array.slice(start, e.rows)
            for e, start in zip(entries, starts.tolist(), strict=False)
        }

    def _decode(self, column: str, entries: Sequence[TensorEntry | FileEntry]) -> "pa.Array":
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.verify:
            self.check_ranges(entries)
        groups, metadata = [self._groups[e.stored.start] for e in entries], self._metadata
        try:
            # A ParquetFile is not safe to share between threads; one over mapped bytes and a
            # parsed footer costs microseconds.
            source = pa.BufferReader(pa.py_buffer(self._bytes))
            file = pq.ParquetFile(source, metadata=metadata)
            table = file.read_row_groups(groups, columns=[column], use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise self._corrupt(entries[0].name) from error
        column_ = table.column(0)
        array = column_.chunk(0) if column_.num_chunks == 1 else column_.combine_chunks()
        if array.null_count or len(array) != sum(e.rows for e in entries):
            raise self._corrupt(entries[0].name)
        return array

    def _open_footer(self) -> tuple[dict[bytes, bytes], int]:
        size = len(self._bytes)
        start, footer = split_footer(self._bytes, self.path)
        if not seal.intact(footer):
            if seal.places(footer):
                raise self._corrupt(f"the footer (bytes {start} to {size})")
            raise NotAWeightTableError(
                f"{self.path} is Parquet but holds no model, or its footer is damaged; "
                "make a weight table with `llm-compression convert`"
            )
        try:
            return key_values(footer, KEYS), start
        except ValueError as error:
            raise self._corrupt(f"the footer (bytes {start} to {size})") from error

    def _let_go(self, entry: TensorEntry) -> None:
        """Unmap the pages of a tensor; they come back from the file when touched again."""
        start = entry.stored.start // mmap.PAGESIZE * mmap.PAGESIZE
        if isinstance(self._map, mmap.mmap):
            self._map.madvise(mmap.MADV_DONTNEED, start, entry.stored.stop - start)

    def _corrupt(self, what: str) -> CorruptWeightTableError:
        return CorruptWeightTableError(
            f"{self.path}: damage in {what}; copy the file again or convert the model again"
        )


def _plain(schema: "pa.Schema") -> "pa.Schema":
    """The schema as Parquet knows it: whether a string is a dictionary is Arrow's own affair."""
    import pyarrow as pa

    return pa.schema(
        pa.field(f.name, getattr(f.type, "value_type", f.type), f.nullable) for f in schema
    )


def raw_values(array: "pa.Array", dtype: str) -> np.ndarray:
    """The bytes of a flat array's values (uint8), without a copy; slices are honoured."""
    row_bytes = STORAGE[dtype].row_bytes
    start = array.offset * row_bytes
    return np.frombuffer(array.buffers()[1], np.uint8)[start : start + len(array) * row_bytes]


def _tasks(entries: list[TensorEntry], limit: int) -> list[list[TensorEntry]]:
    """Groups of one dtype, each about ``limit``, largest first so that threads end together."""
    tasks: list[list[TensorEntry]] = []
    size: dict[str, int] = {}
    last: dict[str, list[TensorEntry]] = {}
    for entry in entries:
        if entry.dtype not in last or size[entry.dtype] + entry.nbytes > limit:
            last[entry.dtype], size[entry.dtype] = [], 0
            tasks.append(last[entry.dtype])
        last[entry.dtype].append(entry)
        size[entry.dtype] += entry.nbytes
    return sorted(tasks, key=lambda task: -sum(e.nbytes for e in task))
