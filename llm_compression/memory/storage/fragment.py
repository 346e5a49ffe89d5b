"""Fragment: one immutable Parquet file of rows, which is checked where it is read."""

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
from llm_compression.memory.storage.manifest import (
    DATA,
    DELETED,
    FragmentEntry,
    StoredFile,
    read_bytes,
)
from llm_compression.memory.storage.sums import (
    check_chunks,
    check_footer,
    check_sum,
    chunk_sums,
    file_sum,
    footer_sum,
)
from llm_compression.spec import codec

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
        # no cached_property: before Python 3.12 it has a lock, which a forked child may find held
        self._dead: np.ndarray | None = None
        self._live: np.ndarray | None = None

    @property
    def dead(self) -> np.ndarray:
        """Rows that are deleted, ascending int64.

        Raises:
            DamagedStorageError: the file that lists them is damaged or gone.
        """
        if self._dead is None:
            self._dead = self._deleted()
        return self._dead

    @property
    def live(self) -> np.ndarray:
        """Rows that are not deleted, ascending int64."""
        if self._live is None:
            self._live = np.delete(np.arange(self.entry.file.rows), self.dead)
        return self._live

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
                self._check(file, range(file.metadata.num_row_groups), columns)
                return file.read(columns=columns)
            parts = list(self._parts(file, rows, columns))
            return pa.concat_tables(parts or [_no_rows(file, columns)])

    def batches(self, rows: np.ndarray) -> Iterator[pa.Table]:
        """All columns of ``rows`` (ascending), a row group at a time."""
        with self._opened() as file:
            yield from self._parts(file, rows, None)

    def files(self) -> list[tuple[Path, StoredFile]]:
        """Its files: that of the rows, and the one that lists the deleted ones."""
        deleted = self.entry.deleted
        lists = [(self.folder / DELETED / deleted.name, deleted)] if deleted else []
        return [(self.path, self.entry.file), *lists]

    def verify(self, path: Path, file: StoredFile) -> None:
        """Compare every byte of one of `files` with its checksum.

        Raises:
            DamagedStorageError: the bytes are not those that were written.
            FragmentGoneError: it is not there any more.
        """
        with self._reads(path):
            check_sum(path, file)

    def _deleted(self) -> np.ndarray:
        if self.entry.deleted is None:
            return np.empty(0, np.int64)
        path = self.folder / DELETED / self.entry.deleted.name
        with self._reads(path):
            check_sum(path, self.entry.deleted)
            rows: np.ndarray = pq.read_table(path)["row"].to_numpy().astype(np.int64)
            return rows

    def _parts(
        self, file: pq.ParquetFile, rows: np.ndarray, columns: Sequence[str] | None
    ) -> Iterator[pa.Table]:
        for group, inside in _groups(file, rows):
            self._check(file, [group], columns)
            yield file.read_row_group(group, columns=columns).take(pa.array(inside))

    def _check(
        self, file: pq.ParquetFile, groups: Iterable[int], columns: Sequence[str] | None
    ) -> None:
        check_chunks(self.path, file.metadata, self.entry.chunks, groups, columns)

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        with self._reads(self.path):
            check_footer(self.path, self.entry)
            with pq.ParquetFile(self.path) as file:
                yield file

    @contextmanager
    def _reads(self, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if path.name.encode() not in (read_bytes(self.folder) or b""):
                raise FragmentGoneError(str(path)) from error
            raise DamagedStorageError(
                f"{path} is gone, though the manifest names it; restore it from a backup"
            ) from error
        except (OSError, pa.ArrowException, ValueError, KeyError) as error:
            raise DamagedStorageError(
                f"{path} is damaged: {error}; its rows cannot be read, those of other files can "
                "(on_damage='skip'); restore it from a backup, or save what is intact by "
                "llm_compression.recover"
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
        for table in _whole_groups(tables):
            file.write_table(table, row_group_size=_ROW_GROUP)
            rows += len(table)
            span = pc.min_max(table["timestamp"].cast(pa.int64())).as_py()
            earliest, latest = min(earliest, span["min"]), max(latest, span["max"])
    name, size = path.name.removesuffix(".tmp"), path.stat().st_size
    chunks = chunk_sums(path, pq.read_metadata(path))
    file_entry = StoredFile(name, rows, size, file_sum(path))
    return FragmentEntry(file_entry, footer_sum(path), chunks, 0, dtype, earliest, latest)


def _whole_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of whole row groups, the last one apart."""
    waiting, rows = list[pa.Table](), 0
    for table in tables:
        waiting.append(table)
        rows += len(table)
        if rows >= _ROW_GROUP:
            joined, rest = pa.concat_tables(waiting), rows % _ROW_GROUP
            yield joined[: rows - rest]
            waiting, rows = [joined[rows - rest :]], rest
    if rows:
        yield pa.concat_tables(waiting)


def write_deleted(path: Path, rows: np.ndarray) -> StoredFile:
    """Write which rows of a fragment are deleted, as one column ``row``.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with durable_file(path) as stream:
        pq.write_table(pa.table({"row": pa.array(rows, pa.uint32())}), stream, compression="zstd")
    return StoredFile(path.name, len(rows), path.stat().st_size, file_sum(path))


def _options(dtype: str) -> dict[str, Any]:
    leaf = f"{EMBEDDING}.list.element"
    split = {"column_encoding": {leaf: "BYTE_STREAM_SPLIT"}} if dtype == "float32" else {}
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": _SAME,
        "write_page_checksum": True,
        "write_statistics": ["timestamp"],
        **split,
    }


def _groups(file: pq.ParquetFile, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Row groups that hold some of ``rows`` (ascending), and which of their rows those are."""
    metadata, start = file.metadata, 0
    for group in range(metadata.num_row_groups):
        stop = start + metadata.row_group(group).num_rows
        low, high = np.searchsorted(rows, (start, stop))
        if high > low:
            yield group, rows[low:high] - start
        start = stop


def _no_rows(file: pq.ParquetFile, columns: Sequence[str] | None) -> pa.Table:
    return file.schema_arrow.empty_table().select(columns or file.schema_arrow.names)
