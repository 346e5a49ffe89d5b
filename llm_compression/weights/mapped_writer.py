"""Writing the mapped copy of a weight table."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

import pyarrow as pa

from llm_compression.weights import seal
from llm_compression.weights.checksum import cross_sum
from llm_compression.weights.mapped import around, key, map_file, read_index
from llm_compression.weights.reader import WeightTable, raw_values
from llm_compression.weights.schema import (
    FORMAT_VERSION,
    NAME_COLUMN,
    STORAGE,
    FileRole,
    TensorEntry,
)
from llm_compression.weights.vocabulary import split

_BATCH_BYTES = 8 << 20  # tensors share a record batch up to this size
_WORDS_BYTES = 2 << 20  # at most of a tokenizer in the header, half of what `mapping` looks at
_DIGITS = 16  # of a place in the file
Group = list[tuple[TensorEntry, pa.Array]]


def write_copy(table: WeightTable, path: Path) -> None:
    """Write all of the file at ``path``.

    Raises:
        OSError: it cannot be written, or the disk is full.
        CorruptWeightTableError: the weight table is damaged.
    """
    entries = table.manifest.tensors
    blank = _index(entries, [0] * len(entries), ["0" * 64] * len(entries))
    schema = _schema(table, blank)
    checksums: list[str] = []
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for group in _groups(table):
            lists = _lists(group)
            writer.write_batch(_batch(group, lists, schema))
            checksums += _checksums(lists, group[0][0].dtype)
    index = _index(entries, _starts(path, entries), checksums)
    _replace(path, index, blank, index)
    content = map_file(path)
    tensors = read_index(index, len(content)).values()
    digest = seal.digest(b"".join(around(content, tensors)))
    _replace(path, index, seal.BLANK.encode(), f"{seal.MARK}{digest}".encode())


def _groups(table: WeightTable) -> Iterator[Group]:
    """Consecutive tensors of one dtype, about `_BATCH_BYTES` together."""
    group: Group = []
    for entry, values in table.stream():
        size = entry.nbytes + sum(e.nbytes for e, _ in group)
        if group and (entry.dtype != group[0][0].dtype or size > _BATCH_BYTES):
            yield group
            group = []
        group.append((entry, values))
    yield group


def _lists(group: Group) -> pa.LargeListArray:
    offsets = [0]
    for _, values in group:
        offsets.append(offsets[-1] + len(values))
    flat = pa.concat_arrays([values for _, values in group])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), flat)


def _batch(group: Group, lists: pa.LargeListArray, schema: pa.Schema) -> pa.RecordBatch:
    names = pa.array([entry.name for entry, _ in group])
    columns = [
        lists if field.name == group[0][0].dtype else pa.nulls(len(group), field.type)
        for field in list(schema)[1:]
    ]
    return pa.record_batch([names, *columns], schema=schema)


def _checksums(lists: pa.LargeListArray, dtype: str) -> list[str]:
    raw, width = raw_values(lists.values, dtype), STORAGE[dtype].row_bytes
    edges = pairwise(lists.offsets.to_pylist())
    return [cross_sum(raw, start * width, stop * width) for start, stop in edges]


def _schema(table: WeightTable, index: bytes) -> pa.Schema:
    metadata = {
        key("format_version"): str(FORMAT_VERSION).encode(),
        key("fingerprint"): table.fingerprint.encode(),
        key("index"): index,
        key("seal"): seal.BLANK.encode(),
        **_tokenizer(table),
    }
    lists = [
        pa.field(dtype, pa.large_list(STORAGE[dtype].arrow)) for dtype in table.manifest.columns()
    ]
    return pa.schema([pa.field(NAME_COLUMN, pa.string()), *lists], metadata)


def _index(entries: Sequence[TensorEntry], starts: Sequence[int], sums: Sequence[str]) -> bytes:
    """Of one length whatever the places and checksums are, as these are known at the end only."""
    rows = [
        [entry.name, entry.dtype, list(entry.shape), f"{start:0{_DIGITS}}", checksum]
        for entry, start, checksum in zip(entries, starts, sums, strict=True)
    ]
    return json.dumps(rows, separators=(",", ":")).encode()


def _tokenizer(table: WeightTable) -> dict[bytes, bytes]:
    if all(file.role is not FileRole.TOKENIZER for file in table.manifest.files):
        return {}
    found = split(table.read_role(FileRole.TOKENIZER))
    if found is None or seal.MARK in found.rest + found.words:
        return {}
    parts = {key("tokenizer"): found.rest.encode(), key("words"): found.words.encode()}
    return parts if sum(map(len, parts.values())) <= _WORDS_BYTES else {}


def _starts(path: Path, entries: Sequence[TensorEntry]) -> list[int]:
    """Where each tensor lies in the file, as Arrow finds it."""
    buffer, rest, found = pa.py_buffer(map_file(path)), iter(entries), list[int]()
    reader = pa.ipc.open_file(buffer)
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        dtype = next(islice(rest, batch.num_rows - 1, None)).dtype  # that all of a batch have
        lists = batch.column(dtype)
        first = lists.values.buffers()[1].address - buffer.address
        offsets = lists.offsets.to_pylist()[:-1]
        found += [first + STORAGE[dtype].row_bytes * offset for offset in offsets]
    return found


def _replace(path: Path, index: bytes, old: bytes, new: bytes) -> None:
    """Write over ``old`` with as many bytes wherever it stands around the tensors.

    The metadata stands twice, in the schema message before and the footer after all values.
    """
    content = map_file(path)
    tensors = [*read_index(index, len(content)).values()]
    edges = (0, tensors[0].start), (tensors[-1].start + tensors[-1].nbytes, len(content))
    with open(path, "r+b") as file:
        for start, stop in edges:
            place = content.find(old, start, stop)
            while place >= 0:
                file.seek(place)
                file.write(new)
                place = content.find(old, place + len(old), stop)
