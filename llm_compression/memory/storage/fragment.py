"""Fragment: one immutable Parquet file of rows, which is checked where it is read."""

import functools
import hashlib
import mmap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llm_compression.errors import DamagedStorageError
from llm_compression.files.durable import durable_file
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.ids import IdIndex
from llm_compression.memory.storage.layout import EMBEDDING
from llm_compression.memory.storage.manifest import FragmentEntry, StoredFile
from llm_compression.spec import codec
from llm_compression.weights.checksum import cross_sum

DATA, DELETED = "data", "deleted"
IDENTITY_KEY = b"llm_compression.vectors"
_ROW_GROUP = 4_096
_SAME = [
    "modality",
    "model",
    "fingerprint",
    "dtype",
    "attributes.list.element.key",
    "attributes.list.element.text",
]  # fmt: skip  columns of few values


class FragmentGoneError(Exception):
    """Compaction removed the file since its manifest was read; the next one has its rows."""


class Fragment:
    """An open fragment of a dataset.

    Args:
        folder: the dataset's.
        entry: what the manifest says of it.
        identity: of its vectors.
        known: the same file as another version had it open.
    """

    def __init__(
        self,
        folder: Path,
        entry: FragmentEntry,
        identity: VectorIdentity,
        known: "Fragment | None" = None,
    ) -> None:
        self.folder, self.entry, self.identity = folder, entry, identity
        self._ids: IdIndex | None = known._ids if known else None  # never changes, unlike `dead`
        self.path = folder / DATA / entry.file.name

    @functools.cached_property
    def dead(self) -> np.ndarray:
        """Rows that are deleted, ascending int64.

        Raises:
            DamagedStorageError: the file that lists them is damaged or gone.
        """
        if self.entry.deleted is None:
            return np.empty(0, np.int64)
        path = self.folder / DELETED / self.entry.deleted.name
        with self._reads(path):
            check_sum(path, self.entry.deleted)
            rows: np.ndarray = pq.read_table(path)["row"].to_numpy().astype(np.int64)
            return rows

    @functools.cached_property
    def live(self) -> np.ndarray:
        """Rows that are not deleted, ascending int64."""
        return np.delete(np.arange(self.entry.file.rows), self.dead)

    def find(self, hashes: np.ndarray) -> dict[str, int]:
        """Ids that may be meant by `hash_ids`, and their rows, the deleted ones left out."""
        if self._ids is None:
            self._ids = IdIndex(self.table(["embedding_id"])["embedding_id"].combine_chunks())
        rows = np.setdiff1d(self._ids.candidates(hashes)[1], self.dead)
        if not len(rows):
            return {}
        names = self.table(["embedding_id"], rows)["embedding_id"].to_pylist()
        return dict(zip(names, rows.tolist(), strict=True))

    def table(
        self, columns: Sequence[str] | None = None, rows: np.ndarray | None = None
    ) -> pa.Table:
        """Some columns, or all, of all rows or of ``rows`` (ascending).

        Raises:
            DamagedStorageError: its bytes are not those that were written.
            FragmentGoneError: it is not there any more.
        """
        with self._opened() as file:
            if rows is None:
                return file.read(columns=columns)
            return _take(file, columns, rows)

    def batches(self, rows: np.ndarray) -> Iterator[pa.Table]:
        """All columns of ``rows`` (ascending), a row group at a time."""
        with self._opened() as file:
            for group, inside in _groups(file, rows):
                yield file.read_row_group(group).take(pa.array(inside))

    def verify(self) -> None:
        """Compare every byte with its checksum.

        Raises:
            DamagedStorageError: the bytes are not those that were written.
            FragmentGoneError: it is not there any more.
        """
        with self._reads(self.path):
            check_sum(self.path, self.entry.file)
        _ = self.dead

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        with self._reads(self.path):
            _check_footer(self.path, self.entry)
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                yield file

    @contextmanager
    def _reads(self, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise FragmentGoneError(str(path)) from error
        except (OSError, pa.ArrowException, ValueError, KeyError) as error:
            raise DamagedStorageError(
                f"{path} is damaged: {error}; its rows cannot be read, those of other files can "
                "(on_damage='skip'); restore it from a backup"
            ) from error


def write_fragment(
    path: Path, tables: Iterable[pa.Table], schema: pa.Schema, identity: VectorIdentity, dtype: str
) -> FragmentEntry:
    """Write the rows of ``tables``; once this returns they and their name are safe.

    The entry has the name without a last ``.tmp`` and the first identity.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    rows, earliest, latest = 0, 2**63 - 1, -(2**63)
    stated = schema.with_metadata({IDENTITY_KEY: codec.dumps(identity)})
    with durable_file(path) as stream, pq.ParquetWriter(stream, stated, **_options(dtype)) as file:
        for table in tables:
            if len(table):
                file.write_table(table, row_group_size=_ROW_GROUP)
                rows += len(table)
                span = pc.min_max(table["timestamp"].cast(pa.int64())).as_py()
                earliest, latest = min(earliest, span["min"]), max(latest, span["max"])
    with path.open("rb") as stream:
        footer, size = _footer(stream), path.stat().st_size
    file_entry = StoredFile(path.name.removesuffix(".tmp"), rows, size, file_sum(path))
    return FragmentEntry(file_entry, footer, 0, dtype, earliest, latest)


def write_deleted(path: Path, rows: np.ndarray) -> StoredFile:
    """Write which rows of a fragment are deleted, as one column ``row``.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with durable_file(path) as stream:
        pq.write_table(pa.table({"row": pa.array(rows, pa.uint32())}), stream, compression="zstd")
    return StoredFile(path.name, len(rows), path.stat().st_size, file_sum(path))


def check_sum(path: Path, file: StoredFile) -> None:
    """Compare every byte of a file with its checksum.

    Raises:
        ValueError: they differ.
    """
    if path.stat().st_size != file.bytes:
        raise ValueError(f"it has {path.stat().st_size} bytes, {file.bytes} were written")
    if file_sum(path) != file.sum:
        raise ValueError("its bytes are not those that were written")


def file_sum(path: Path) -> str:
    """`cross_sum` of a whole file."""
    with path.open("rb") as stream:
        if not path.stat().st_size:
            return ""
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            content = np.frombuffer(mapped, np.uint8)
            found = cross_sum(content, 0, len(content))
            del content  # or the map could not be closed
    return found


def _options(dtype: str) -> dict[str, Any]:
    leaf = f"{EMBEDDING}.list.element"
    split = {} if dtype == "int8" else {"column_encoding": {leaf: "BYTE_STREAM_SPLIT"}}
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": _SAME,
        "write_page_checksum": True,
        "write_statistics": ["timestamp"],
        **split,
    }


def _footer(stream: Any) -> str:
    """SHA-256 of the footer, its length and the magic."""
    stream.seek(0, 2)
    size = stream.tell()
    if size < 12:
        raise ValueError(f"it has {size} bytes, too few for Parquet")
    stream.seek(size - 8)
    length = int.from_bytes(stream.read(4), "little")
    if length + 12 > size:
        raise ValueError("its footer is cut")
    stream.seek(size - 8 - length)
    return hashlib.sha256(stream.read()).hexdigest()


def _check_footer(path: Path, entry: FragmentEntry) -> None:
    with path.open("rb") as stream:
        size = path.stat().st_size
        if size != entry.file.bytes:
            raise ValueError(f"it has {size} bytes, {entry.file.bytes} were written")
        if _footer(stream) != entry.footer:
            raise ValueError("its footer is not the one that was written")


def _groups(file: pq.ParquetFile, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Row groups that hold some of ``rows`` (ascending), and which of their rows those are."""
    metadata, start = file.metadata, 0
    for group in range(metadata.num_row_groups):
        stop = start + metadata.row_group(group).num_rows
        low, high = np.searchsorted(rows, (start, stop))
        if high > low:
            yield group, rows[low:high] - start
        start = stop


def _take(file: pq.ParquetFile, columns: Sequence[str] | None, rows: np.ndarray) -> pa.Table:
    parts = [
        file.read_row_group(group, columns=columns).take(pa.array(inside))
        for group, inside in _groups(file, rows)
    ]
    if not parts:
        return file.schema_arrow.empty_table().select(columns or file.schema_arrow.names)
    return pa.concat_tables(parts)
