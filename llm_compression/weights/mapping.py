"""Making the mapped copy of a weight table: where, once, and by one process at a time."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from llm_compression.errors import OutputError, WeightTableError
from llm_compression.files.atomic import atomic_write
from llm_compression.files.paths import cache_folder
from llm_compression.weights import seal
from llm_compression.weights.checksum import cross_sum
from llm_compression.weights.mapped import (
    SUM_COLUMN,
    MappedCopy,
    around,
    key,
    locate_tensors,
    map_file,
)
from llm_compression.weights.reader import WeightTable, raw_values
from llm_compression.weights.schema import (
    FORMAT_VERSION,
    NAME_COLUMN,
    STORAGE,
    FileRole,
    TensorEntry,
)
from llm_compression.weights.vocabulary import split

SUFFIX = ".arrow"
_BATCH_BYTES = (
    8 << 20
)  # tensors share a record batch up to this size; each batch costs opening time
_HEADER_BYTES = 4 << 20  # more than the schema message of any model takes
Group = list[tuple[TensorEntry, pa.Array]]


def beside(table: WeightTable) -> Path:
    """The place of a copy that stands next to its model: ``MODEL.parquet.arrow``."""
    return table.path.with_name(table.path.name + SUFFIX)


def mapped_path(table: WeightTable) -> Path:
    """Next to the model if a copy stands there, else in the cache folder."""
    cached = cache_folder() / "mapped" / f"{table.fingerprint}{SUFFIX}"
    return beside(table) if _is_ours(beside(table)) else cached


def open_mapped(
    table: WeightTable,
    path: Path,
    *,
    check_values: bool = False,
    meanwhile: Callable[[MappedCopy], None] = lambda _copy: None,
) -> MappedCopy:
    """The mapped copy of ``table`` at ``path``; made first if absent, stale or damaged.

    Damage of the values themselves is looked for only with ``check_values``, and ``meanwhile`` may
    then be called with the copy, which must raise nothing. Safe when several processes ask at
    once: one makes it, the others wait.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
        OutputError: a file that is no mapped copy stands in its place.
        CorruptWeightTableError: the weight table itself is damaged.
    """
    if found := _existing(table, path, check_values=check_values, meanwhile=meanwhile):
        return found
    if path == beside(table) and path.exists() and not _is_ours(path):
        raise OutputError(f"{path} is no mapped copy, so it is left as it is; move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, wait=True) as draft:
        if found := _existing(table, path, check_values=check_values):
            draft.keep = False
            return found
        _write(table, draft.path)
        MappedCopy(draft.path, table.fingerprint).verify(table)
    return MappedCopy(path, table.fingerprint)


def _existing(
    table: WeightTable,
    path: Path,
    *,
    check_values: bool,
    meanwhile: Callable[[MappedCopy], None] = lambda _copy: None,
) -> MappedCopy | None:
    try:
        found = MappedCopy(path, table.fingerprint) if path.exists() else None
        if found and check_values:
            found.check_values(meanwhile)
    except WeightTableError:
        return None
    return found


def _is_ours(path: Path) -> bool:
    """Whether a file was made here, stale and damaged ones included: its header says so."""
    try:
        with open(path, "rb") as file:
            return key("seal") in file.read(_HEADER_BYTES)
    except OSError:
        return False


def _write(table: WeightTable, path: Path) -> None:
    schema = _schema(table)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for group in _groups(table):
            writer.write_batch(_batch(group, schema))
    _seal(path)


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


def _batch(group: Group, schema: pa.Schema) -> pa.RecordBatch:
    offsets = [0]
    for _, values in group:
        offsets.append(offsets[-1] + len(values))
    flat = pa.concat_arrays([values for _, values in group])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), flat)
    names = pa.array([entry.name for entry, _ in group])
    raw, width = raw_values(flat, group[0][0].dtype), STORAGE[group[0][0].dtype].row_bytes
    sums = pa.array([cross_sum(raw, a * width, b * width) for a, b in pairwise(offsets)])
    columns = [
        lists if field.name == group[0][0].dtype else pa.nulls(len(group), field.type)
        for field in list(schema)[2:]
    ]
    return pa.record_batch([names, sums, *columns], schema=schema)


def _schema(table: WeightTable) -> pa.Schema:
    index = [[e.name, e.dtype, list(e.shape)] for e in table.manifest.tensors]
    metadata = {
        key("format_version"): str(FORMAT_VERSION).encode(),
        key("fingerprint"): table.fingerprint.encode(),
        key("index"): json.dumps(index, separators=(",", ":")).encode(),
        key("seal"): seal.BLANK.encode(),
        **_tokenizer(table),
    }
    lists = [
        pa.field(dtype, pa.large_list(STORAGE[dtype].arrow)) for dtype in table.manifest.columns()
    ]
    texts = [pa.field(name, pa.string()) for name in (NAME_COLUMN, SUM_COLUMN)]
    return pa.schema([*texts, *lists], metadata)


def _tokenizer(table: WeightTable) -> dict[bytes, bytes]:
    if all(file.role is not FileRole.TOKENIZER for file in table.manifest.files):
        return {}
    found = split(table.read_role(FileRole.TOKENIZER))
    if found is None or seal.MARK in found.rest + found.words:
        return {}
    parts = {key("tokenizer"): found.rest.encode(), key("words"): found.words.encode()}
    return parts if sum(map(len, parts.values())) <= _HEADER_BYTES // 2 else {}


def _seal(path: Path) -> None:
    content = map_file(path)
    buffer = pa.py_buffer(content)
    tensors = list(locate_tensors(pa.ipc.open_file(buffer), buffer.address).values())
    digest = seal.digest(b"".join(around(content, tensors))).encode()
    # The metadata stands twice, in the schema message before and the footer after all values.
    end = tensors[-1].start + tensors[-1].nbytes
    with open(path, "r+b") as file:
        for start, part in ((0, content[: tensors[0].start]), (end, content[end:])):
            for place in seal.places(part):
                file.seek(start + place)
                file.write(digest)
