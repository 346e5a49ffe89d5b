"""MappedCopy: the same tensors in an uncompressed Arrow IPC file, opened in place.

A record batch holds consecutive tensors of one dtype, one row each: its name, and its values as a
list in the column of its dtype. The schema's metadata carries the fingerprint, an index that says
where each tensor lies and what its cross sum is, the tokenizer if it can be split, and a seal over
every byte that is no value.
"""

import hashlib
import json
import mmap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llm_compression.errors import CorruptWeightTableError
from llm_compression.weights import seal
from llm_compression.weights.arrow_metadata import schema_metadata
from llm_compression.weights.checksum import cross_sums
from llm_compression.weights.manifest import check_version
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import PREFIX, STORAGE, FileRole, stored_rows
from llm_compression.weights.table_file import open_at_once
from llm_compression.weights.vocabulary import SplitTokenizer, split

# what a header can come to that is not one: its seal is checked when it is known where it ends
_NO_HEADER = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
              RecursionError)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MappedTensor:
    """One tensor in place, at bytes ``[start, start + nbytes)`` of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int
    checksum: str  # its cross sum


class MappedCopy:
    """An opened copy; its pages are shared by all processes that open it.

    Opening checks version, fingerprint and bounds, and by the seal every byte but the values
    themselves; `check_values` and `verify` check those. The mapping is private: not even a stray
    write could reach the file or another process.

    Raises:
        CorruptWeightTableError: the file is damaged, or belongs to another model.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        try:
            self.bytes = map_file(path)
            self._metadata = schema_metadata(self.bytes)
            self._check_identity(fingerprint)
            self.tensors = read_index(self._metadata[key("index")], len(self.bytes))
        except _NO_HEADER as error:
            raise self._corrupt("its header") from error
        if not seal.intact(b"".join(around(self.bytes, self.tensors.values()))):
            raise self._corrupt("its header")

    @property
    def dtypes(self) -> set[str]:
        """The stored dtypes."""
        return {tensor.dtype for tensor in self.tensors.values()}

    @property
    def tokenizer(self) -> SplitTokenizer | None:
        """The model's, where it has one that can be split."""
        if key("words") not in self._metadata:
            return None
        parts = (self._metadata[key(part)].decode() for part in ("tokenizer", "words"))
        return SplitTokenizer(*parts)

    def check_values(self, meanwhile: Callable[["MappedCopy"], None] = lambda _copy: None) -> None:
        """Compare every value with its cross sum, at memory speed; pages are let go again.

        ``meanwhile`` is called with this copy while they are summed.

        Raises:
            CorruptWeightTableError: a tensor differs; the message names it.
        """
        ranges = [(t.start, t.start + t.nbytes) for t in self.tensors.values()]
        with cross_sums(self.bytes, ranges) as found:
            meanwhile(self)
        for (name, tensor), checksum in zip(self.tensors.items(), found, strict=True):
            if checksum != tensor.checksum:
                raise self._corrupt(f"tensor {name}")

    def release(self) -> None:
        """Let all pages go; nothing is lost, as nothing is ever written to them."""
        self.bytes.madvise(mmap.MADV_DONTNEED)

    def check_index(self, table: WeightTable) -> None:
        """Compare names, types and shapes with those of the weight table.

        Raises:
            CorruptWeightTableError: they differ.
        """
        found = [(name, tensor.dtype, tensor.shape) for name, tensor in self.tensors.items()]
        if found != [(entry.name, entry.dtype, entry.shape) for entry in table.manifest.tensors]:
            raise self._corrupt("its index")

    def verify(self, table: WeightTable) -> None:
        """Compare all with the weight table: every value with its SHA-256, and the tokenizer.

        Raises:
            CorruptWeightTableError: something differs; the message names it.
        """
        self.check_index(table)
        if self.tokenizer and self.tokenizer != split(table.read_role(FileRole.TOKENIZER)):
            raise self._corrupt("the tokenizer")
        for entry in table.manifest.tensors:
            start = self.tensors[entry.name].start
            with memoryview(self.bytes) as view, view[start : start + entry.nbytes] as values:
                digest = hashlib.sha256(values).hexdigest()
            if digest != entry.sha256:
                raise self._corrupt(f"tensor {entry.name}")

    def _check_identity(self, fingerprint: str) -> None:
        check_version(self._metadata[key("format_version")].decode(), str(self.path))
        if self._metadata[key("fingerprint")] != fingerprint.encode():
            raise self._corrupt("its fingerprint: it is the copy of another model")

    def _corrupt(self, what: str) -> CorruptWeightTableError:
        return CorruptWeightTableError(
            f"{self.path}: damage in {what}; delete the file, it is made again from the model"
        )


def read_index(index: bytes, size: int) -> dict[str, MappedTensor]:
    """The tensors of a file of ``size`` bytes, in the order in which they lie there."""
    found, position = {}, 0
    for name, dtype, shape, place, checksum in json.loads(index):
        start, nbytes = int(place), stored_rows(dtype, shape) * STORAGE[dtype].row_bytes
        if not position <= start <= size - nbytes:
            raise ValueError(f"{name} lies behind what follows it, or outside of the file")
        position = start + nbytes
        found[name] = MappedTensor(dtype, tuple(shape), start, nbytes, checksum)
    return found


def around(content: mmap.mmap, tensors: Iterable[MappedTensor]) -> Iterator[bytes]:
    """The bytes that belong to no tensor, from the start of the file to its end."""
    position = 0
    for tensor in tensors:
        if tensor.start != position:
            yield content[position : tensor.start]
        position = tensor.start + tensor.nbytes
    yield content[position:]


def map_file(path: Path) -> mmap.mmap:
    """The file in memory, private to this process where it is written to."""
    with open(path, "rb", opener=open_at_once) as file:
        # Private and writable: torch takes no read-only memory. A write, which read-only tensors
        # refuse, would stay within this process.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def key(name: str) -> bytes:
    """A metadata key of ours."""
    return f"{PREFIX}{name}".encode()
