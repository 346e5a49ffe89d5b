"""Mutations of a file: where, what, and how to put the file back."""

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Regions = Mapping[str, Sequence[range]]
SECTOR = 512


@dataclass(frozen=True)
class Mutation:
    """``size`` bytes at ``start`` become ``new``."""

    region: str
    operation: str
    start: int
    size: int
    new: bytes

    def __str__(self) -> str:
        return (
            f"{self.operation} in {self.region}: {self.size} bytes at {self.start} "
            f"become {len(self.new)}"
        )


def draw(content: bytes, regions: Regions, rng: random.Random) -> Mutation:
    """A mutation that changes ``content``, beginning in one of the regions."""
    while True:
        region = rng.choice(sorted(regions))
        operation = rng.choice(sorted(OPERATIONS))
        start = rng.choice(rng.choice(regions[region]))
        size, new = OPERATIONS[operation](content, start, rng)
        if content[start : start + size] != new:
            return Mutation(region, operation, start, size, new)


def sweep(content: bytes, i: int, rng: random.Random) -> Mutation:
    """One bit of byte ``i``: over a whole file, every byte once."""
    size, new = flip_here(content, i, rng)
    return Mutation("sweep", "flip_here", i, size, new)


def flip(content: bytes, start: int, rng: random.Random) -> tuple[int, bytes]:
    """One to eight bits within 64 bytes."""
    window = bytearray(content[start : start + 64])
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        window[rng.randrange(len(window))] ^= 1 << rng.randrange(8)
    return len(window), bytes(window)


def flip_here(content: bytes, start: int, rng: random.Random) -> tuple[int, bytes]:
    """One bit of this very byte."""
    return 1, bytes([content[start] ^ 1 << rng.randrange(8)])


def scramble(content: bytes, start: int, rng: random.Random) -> tuple[int, bytes]:
    """A run of random bytes."""
    size = min(rng.choice([1, 4, 40, 400, 5000]), len(content) - start)
    return size, rng.randbytes(size)


def blank(content: bytes, start: int, rng: random.Random) -> tuple[int, bytes]:
    """A block of zeros, as from a sector that was never written."""
    size = min(rng.choice([1, 8, SECTOR, 4096, 20_000]), len(content) - start)
    return size, bytes(size)


def fill(content: bytes, start: int, rng: random.Random) -> tuple[int, bytes]:
    """A block of ones, as from erased flash."""
    size = min(rng.choice([1, 8, SECTOR, 4096]), len(content) - start)
    return size, b"\xff" * size


def truncate(content: bytes, start: int, rng: random.Random) -> tuple[int, bytes]:
    """Nothing from here on."""
    return len(content) - start, b""


def insert(content: bytes, start: int, rng: random.Random) -> tuple[int, bytes]:
    """Bytes too many."""
    return 0, rng.randbytes(rng.choice([1, 2, 8, SECTOR]))


def repeat(content: bytes, start: int, rng: random.Random) -> tuple[int, bytes]:
    """A block that was written twice."""
    return 0, content[start : start + rng.choice([1, 8, SECTOR])]


def delete(content: bytes, start: int, rng: random.Random) -> tuple[int, bytes]:
    """Bytes too few."""
    return min(rng.choice([1, 2, 8, SECTOR]), len(content) - start), b""


def swap(content: bytes, start: int, rng: random.Random) -> tuple[int, bytes]:
    """Two neighbouring blocks in each other's place."""
    half = min(rng.choice([1, 4, 8, SECTOR, 4096]), (len(content) - start) // 2)
    window = content[start : start + 2 * half]
    return len(window), window[half:] + window[:half]


def misdirect(content: bytes, start: int, rng: random.Random) -> tuple[int, bytes]:
    """A block of another place of the file."""
    size = min(rng.choice([8, SECTOR, 4096]), len(content) - start)
    other = rng.randrange(len(content) - size + 1)
    return size, content[other : other + size]


def stick(content: bytes, start: int, rng: random.Random) -> tuple[int, bytes]:
    """The same bit wrong in several sectors, as from a bad cell of a transfer buffer."""
    stride, count, bit = rng.choice([SECTOR, 4096]), rng.choice([2, 4, 8]), 1 << rng.randrange(8)
    window = bytearray(content[start : start + stride * count])
    for place in range(0, len(window), stride):
        window[place] ^= bit
    return len(window), bytes(window)


Operation = Callable[[bytes, int, random.Random], tuple[int, bytes]]
OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (
        flip, flip_here, scramble, blank, fill, truncate, insert, repeat, delete, swap,
        misdirect, stick,
    )
}  # fmt: skip


class Patient:
    """A file that is mutated in place and healed again; only what changes is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = path.read_bytes()
        self._descriptor = os.open(path, os.O_RDWR)

    def harm(self, mutation: Mutation) -> None:
        """Write the mutation; what follows moves where its length differs."""
        if len(mutation.new) == mutation.size:
            os.pwrite(self._descriptor, mutation.new, mutation.start)
        else:
            rest = self.content[mutation.start + mutation.size :]
            self._end_with(mutation.start, mutation.new + rest)

    def heal(self, mutation: Mutation) -> None:
        """Write the original again."""
        start, stop = mutation.start, mutation.start + mutation.size
        if len(mutation.new) == mutation.size:
            os.pwrite(self._descriptor, self.content[start:stop], start)
        else:
            self._end_with(start, self.content[start:])

    def _end_with(self, start: int, rest: bytes) -> None:
        os.pwrite(self._descriptor, rest, start)
        os.ftruncate(self._descriptor, start + len(rest))
