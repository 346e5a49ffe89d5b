"""cross_sum: a checksum of stored bytes at memory speed, and the fingerprint of a model."""

import hashlib
import mmap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from llm_compression.native.library import library
from llm_compression.native.sums import SumsTask
from llm_compression.spec import codec
from llm_compression.spec.model import ModelSpec
from llm_compression.weights.schema import FileEntry, FileRole, TensorEntry

ROW_WORDS = 1021  # prime: no stride of sectors or pages falls twice into one column
ROW_BYTES = 8 * ROW_WORDS
_BLOCK_ROWS = 64  # 512 KiB at a time: both sums read it while it is in the L2 cache


def cross_sum(file: np.ndarray, start: int, stop: int) -> str:
    """Checksum of ``file[start:stop]`` (uint8), as in `docs/format.md`.

    The bytes are a matrix of 64-bit words, 1,021 a row; SHA-256 runs over the sums of its rows
    and columns only. A change within 8,168 bytes, or of three words, always alters a sum;
    others pass only where changed words form rectangles of the matrix and cancel in each row and
    column. CRC-32 or SHA-256 over all bytes would take longer than decoding them.
    """
    matrix = _Matrix.of(file, start, stop)
    row_sums, column_sums = matrix.row_sums, matrix.column_sums
    for i in range(0, len(matrix.words), _BLOCK_ROWS):
        block = matrix.words[i : i + _BLOCK_ROWS]
        np.add.reduce(block, axis=1, out=row_sums[i : i + _BLOCK_ROWS])
        column_sums += np.add.reduce(block, axis=0)
    return matrix.digest()


@contextmanager
def cross_sums(mapped: mmap.mmap, ranges: Sequence[tuple[int, int]]) -> Iterator[list[str]]:
    """`cross_sum` of each range of a mapped file, in a list that is filled when the context ends.

    What is done inside runs side by side with it, where the compiled library is there. Pages are
    let go as soon as they are summed.
    """
    found: list[str] = []
    file = np.frombuffer(mapped, np.uint8)
    matrices = [_Matrix.of(file, start, stop) for start, stop in ranges]
    tasks = (SumsTask * len(matrices))(*(matrix.task() for matrix in matrices))
    native = library()
    sums = native.sums(tasks, matrices) if native else None
    done = False
    try:
        if sums:
            sums.start()
        yield found
    finally:
        if sums:
            done = sums.wait()
    if done:
        found.extend(matrix.digest() for matrix in matrices)
        return
    for start, stop in ranges:
        found.append(cross_sum(file, start, stop))
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        mapped.madvise(mmap.MADV_DONTNEED, first, stop - first)


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A range of a file as a matrix of words, the bytes around it, and its sums."""

    head: np.ndarray
    words: np.ndarray  # (rows, 1021)
    tail: np.ndarray
    sums: np.ndarray  # of the columns, then of the rows

    @classmethod
    def of(cls, file: np.ndarray, start: int, stop: int) -> "_Matrix":
        head = min(stop, start + -start % 8)  # words lie on the file's own 8-byte grid
        rows = (stop - head) // ROW_BYTES
        tail = head + rows * ROW_BYTES
        words = file[head:tail].view("<u8").reshape(rows, ROW_WORDS)
        sums = np.zeros(ROW_WORDS + rows, "<u8")
        return cls(file[start:head], words, file[tail:stop], sums)

    @property
    def column_sums(self) -> np.ndarray:
        return self.sums[:ROW_WORDS]

    @property
    def row_sums(self) -> np.ndarray:
        return self.sums[ROW_WORDS:]

    def task(self) -> SumsTask:
        columns = self.sums.ctypes.data
        rows = columns + ROW_BYTES
        return SumsTask(self.words.ctypes.data, len(self.words), rows, columns)

    def digest(self) -> str:
        size = self.head.nbytes + self.words.nbytes + self.tail.nbytes
        around = b"".join((size.to_bytes(8, "little"), self.head.data, self.tail.data))
        digest = hashlib.sha256(around)
        digest.update(self.sums.data)
        return digest.hexdigest()


def cross_sum_of(stream: BinaryIO) -> str:
    """`cross_sum` of a whole file, read a block at a time."""
    column_sums, row_sums = np.zeros(ROW_WORDS, "<u8"), []
    size, tail = 0, b""
    while block := stream.read(_BLOCK_ROWS * ROW_BYTES):
        rows = len(block) // ROW_BYTES
        words = np.frombuffer(block, "<u8", rows * ROW_WORDS).reshape(rows, ROW_WORDS)
        row_sums.append(np.add.reduce(words, axis=1))
        column_sums += np.add.reduce(words, axis=0)
        size, tail = size + len(block), block[rows * ROW_BYTES :]
    digest = hashlib.sha256(size.to_bytes(8, "little") + tail)
    for sums in (column_sums, *row_sums):
        digest.update(sums.data)
    return digest.hexdigest()


def fingerprint(spec: ModelSpec, tensors: Iterable[TensorEntry], files: Iterable[FileEntry]) -> str:
    """The model's name for ever: SHA-256 over what defines it, provenance left out."""
    identity = {
        "spec": spec,
        "tensors": sorted(_tensor_identity(entry) for entry in tensors),
        "files": sorted([f.role.value, f.sha256] for f in files if f.role is not FileRole.SOURCE),
    }
    return codec.digest(identity)


def _tensor_identity(entry: TensorEntry) -> list[object]:
    return [
        entry.name,
        entry.dtype,
        list(entry.shape),
        entry.sha256,
        *([entry.quantization] if entry.quantization else []),
    ]
