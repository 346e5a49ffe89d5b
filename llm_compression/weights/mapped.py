"""The memory-mapped copy: the same tensors in an uncompressed Arrow IPC file, opened in place.

One record batch a tensor: its name, and its values as one list in the column of its dtype. The
schema's metadata carries the fingerprint, an index and a seal over every byte that is no value.
"""

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from llm_compression.errors import CorruptWeightTableError, WeightTableError
from llm_compression.weights import seal
from llm_compression.weights.atomic import atomic_write
from llm_compression.weights.cache import cache_folder
from llm_compression.weights.manifest import check_version
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import FORMAT_VERSION, NAME_COLUMN, PREFIX, STORAGE

SUFFIX = ".arrow"


@dataclass(frozen=True, slots=True)
class MappedTensor:
    """One tensor in place: ``array`` is flat, its memory begins at byte ``start`` of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    array: pa.Array


class MappedCopy:
    """An opened copy; its pages are shared by all processes that open it.

    Opening checks version, fingerprint and bounds, and by the seal every byte but the values
    themselves; `verify` checks those. The mapping is private: not even a stray write could reach
    the file or another process.

    Raises:
        CorruptWeightTableError: the file is damaged, or belongs to another model.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        try:
            self.bytes = _map(path)
            reader = pa.ipc.open_file(pa.py_buffer(self.bytes))
            self._metadata = reader.schema.metadata or {}
            self._check_identity(fingerprint)
            self.tensors = _tensors(reader, pa.py_buffer(self.bytes).address)
        except (
            pa.ArrowException,
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
        ) as error:
            raise self._corrupt("its header") from error
        if not seal.intact(b"".join(_around(self.bytes, self.tensors.values()))):
            raise self._corrupt("its header")

    @property
    def dtypes(self) -> set[str]:
        """The stored dtypes."""
        return {tensor.dtype for tensor in self.tensors.values()}

    def verify(self, table: WeightTable) -> None:
        """Compare every value with the SHA-256 in the weight table.

        Raises:
            CorruptWeightTableError: a tensor differs; the message names it.
        """
        for entry in table.manifest.tensors:
            start = self.tensors[entry.name].start
            with memoryview(self.bytes) as view, view[start : start + entry.nbytes] as values:
                digest = hashlib.sha256(values).hexdigest()
            if digest != entry.sha256:
                raise self._corrupt(f"tensor {entry.name}")

    def _check_identity(self, fingerprint: str) -> None:
        check_version(self._metadata[_key("format_version")].decode(), str(self.path))
        if self._metadata[_key("fingerprint")] != fingerprint.encode():
            raise self._corrupt("its fingerprint: it is the copy of another model")

    def _corrupt(self, what: str) -> CorruptWeightTableError:
        return CorruptWeightTableError(
            f"{self.path}: damage in {what}; delete the file, it is made again from the model"
        )


def beside(table: WeightTable) -> Path:
    """The place of a copy that stands next to its model."""
    return table.path.with_suffix(SUFFIX)


def mapped_path(table: WeightTable) -> Path:
    """Next to the model if a copy stands there, else in the cache folder."""
    cached = cache_folder() / "mapped" / f"{table.fingerprint}{SUFFIX}"
    return beside(table) if beside(table).exists() else cached


def open_mapped(table: WeightTable, path: Path) -> MappedCopy:
    """The mapped copy of ``table`` at ``path``; made first if absent, stale or damaged.

    Safe when several processes ask at once: one makes it, the others wait.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
        CorruptWeightTableError: the weight table itself is damaged.
    """
    if found := _existing(table, path):
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, wait=True) as draft:
        if found := _existing(table, path):
            draft.keep = False
            return found
        _write(table, draft.path)
        MappedCopy(draft.path, table.fingerprint).verify(table)
    return MappedCopy(path, table.fingerprint)


def _existing(table: WeightTable, path: Path) -> MappedCopy | None:
    try:
        return MappedCopy(path, table.fingerprint) if path.exists() else None
    except WeightTableError:
        return None


def _write(table: WeightTable, path: Path) -> None:
    schema = _schema(table)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for entry, values in table.stream():
            offsets = pa.array([0, len(values)], pa.int64())
            row = [
                pa.LargeListArray.from_arrays(offsets, values)
                if field.name == entry.dtype
                else pa.nulls(1, field.type)
                for field in list(schema)[1:]
            ]
            writer.write_batch(pa.record_batch([pa.array([entry.name]), *row], schema=schema))
    _seal(path)


def _schema(table: WeightTable) -> pa.Schema:
    index = [[e.name, e.dtype, list(e.shape)] for e in table.manifest.tensors]
    metadata = {
        _key("format_version"): str(FORMAT_VERSION).encode(),
        _key("fingerprint"): table.fingerprint.encode(),
        _key("index"): json.dumps(index, separators=(",", ":")).encode(),
        _key("seal"): seal.BLANK.encode(),
    }
    lists = [
        pa.field(dtype, pa.large_list(STORAGE[dtype].arrow)) for dtype in table.manifest.columns()
    ]
    return pa.schema([pa.field(NAME_COLUMN, pa.string()), *lists], metadata)


def _tensors(reader: pa.ipc.RecordBatchFileReader, base: int) -> dict[str, MappedTensor]:
    """The tensors in file order, zero-copy, as the index in the metadata names them."""
    index = json.loads(reader.schema.metadata[_key("index")])
    columns = {name: i for i, name in enumerate(reader.schema.names)}
    found = {}
    for i, (name, dtype, shape) in enumerate(index):
        array = reader.get_batch(i).column(columns[dtype]).values
        start = array.buffers()[1].address - base
        found[name] = MappedTensor(dtype, tuple(shape), start, array)
    return found


def _around(content: mmap.mmap, tensors: Iterable[MappedTensor]) -> Iterator[bytes]:
    """The bytes that belong to no tensor, from the start of the file to its end."""
    position = 0
    for tensor in tensors:
        yield content[position : tensor.start]
        position = tensor.start + tensor.array.nbytes
    yield content[position:]


def _seal(path: Path) -> None:
    content = _map(path)
    buffer = pa.py_buffer(content)
    tensors = _tensors(pa.ipc.open_file(buffer), buffer.address)
    digest = seal.digest(b"".join(_around(content, tensors.values()))).encode()
    # The metadata stands twice, in the schema message before and the footer after all values.
    *_, last = tensors.values()
    first = next(iter(tensors.values()))
    end = last.start + last.array.nbytes
    with open(path, "r+b") as file:
        for place in seal.places(content[: first.start]):
            file.seek(place)
            file.write(digest)
        for place in seal.places(content[end:]):
            file.seek(end + place)
            file.write(digest)


def _map(path: Path) -> mmap.mmap:
    with open(path, "rb") as file:
        # Private and writable: torch takes no read-only memory. A write, which read-only tensors
        # refuse, would stay within this process.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _key(name: str) -> bytes:
    return f"{PREFIX}{name}".encode()
