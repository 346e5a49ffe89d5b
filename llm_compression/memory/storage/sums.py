"""Checksums of stored files: of all bytes, of a Parquet footer, and of each column chunk."""

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq

from llm_compression.memory.storage.manifest import FragmentEntry, StoredFile
from llm_compression.weights.checksum import cross_sum_of

_DIGITS = 8  # of a CRC-32


def file_sum(path: Path) -> str:
    """`cross_sum` of a whole file."""
    with path.open("rb") as stream:
        return cross_sum_of(stream)


def check_sum(path: Path, file: StoredFile) -> None:
    """Compare every byte of a file with its checksum.

    Raises:
        ValueError: they differ.
    """
    _check_size(path, file)
    if file_sum(path) != file.sum:
        raise ValueError("its bytes are not those that were written")


def footer_sum(path: Path) -> str:
    """SHA-256 of the footer, its length and the magic.

    Raises:
        ValueError: the file is too short for Parquet.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        if size < 12:
            raise ValueError(f"it has {size} bytes, too few for Parquet")
        stream.seek(size - 8)
        length = int.from_bytes(stream.read(4), "little")
        if length + 12 > size:
            raise ValueError("its footer is cut")
        stream.seek(size - 8 - length)
        return hashlib.sha256(stream.read()).hexdigest()


def check_footer(path: Path, entry: FragmentEntry) -> None:
    """Compare what tells where everything stands with its checksum.

    Raises:
        ValueError: they differ.
    """
    _check_size(path, entry.file)
    if footer_sum(path) != entry.footer:
        raise ValueError("its footer is not the one that was written")


def chunk_sums(path: Path, metadata: pq.FileMetaData) -> str:
    """CRC-32 of each column chunk, row group by row group, 8 hex digits each."""
    places = range(metadata.num_row_groups * metadata.num_columns)
    with path.open("rb") as stream:
        return "".join(_chunk_sum(stream, metadata, place) for place in places)


def check_chunks(
    path: Path,
    metadata: pq.FileMetaData,
    sums: str,
    groups: Iterable[int],
    columns: Sequence[str] | None,
) -> None:
    """Compare what is about to be read: some row groups of some columns, or of all.

    The checksums of Parquet's own pages leave out their headers.

    Raises:
        ValueError: they differ; names the column.
    """
    with path.open("rb") as stream:
        for place in _places(metadata, groups, columns):
            if _chunk_sum(stream, metadata, place) != sums[_DIGITS * place :][:_DIGITS]:
                column = metadata.schema.column(place % metadata.num_columns).path
                raise ValueError(f"bytes of {column} are not those that were written")


def _places(
    metadata: pq.FileMetaData, groups: Iterable[int], columns: Sequence[str] | None
) -> Iterator[int]:
    """Numbers of column chunks, counted row group by row group."""
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    wanted = [i for i, path in enumerate(paths) if columns is None or path.split(".")[0] in columns]
    for group in groups:
        yield from (group * len(paths) + i for i in wanted)


def _chunk_sum(stream: BinaryIO, metadata: pq.FileMetaData, place: int) -> str:
    group, column = divmod(place, metadata.num_columns)
    chunk = metadata.row_group(group).column(column)
    starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
    stream.seek(min(start for start in starts if start is not None))
    return f"{zlib.crc32(stream.read(chunk.total_compressed_size)):08x}"


def _check_size(path: Path, file: StoredFile) -> None:
    size = path.stat().st_size
    if size != file.bytes:
        raise ValueError(f"it has {size} bytes, {file.bytes} were written")
