"""cross_sum: the definition once more in plain Python, and the changes that it must notice."""

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest

from llm_compression.weights.checksum import ROW_BYTES, ROW_WORDS, cross_sum

TOP_BIT = np.uint64(1 << 63)


def slow_cross_sum(file: bytes, start: int, stop: int) -> str:
    """The standard's words, one after the other."""
    first = start
    while first % 8 and first < stop:
        first += 1
    rows = (stop - first) // (8 * 1021)
    last = first + rows * 8 * 1021
    words = [int.from_bytes(file[i : i + 8], "little") for i in range(first, last, 8)]
    matrix = [words[i : i + 1021] for i in range(0, len(words), 1021)]
    columns = [sum(row[j] for row in matrix) for j in range(1021)]
    sums = b"".join((s % 2**64).to_bytes(8, "little") for s in [*columns, *map(sum, matrix)])
    length = (stop - start).to_bytes(8, "little")
    return hashlib.sha256(length + file[start:first] + file[last:stop] + sums).hexdigest()


def random_bytes(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def total(file: np.ndarray) -> str:
    return cross_sum(file, 0, len(file))


def matrix(rows: int) -> np.ndarray:
    """Random 64-bit words, a whole matrix of them."""
    return random_bytes(rows * ROW_BYTES).view("<u8").reshape(rows, ROW_WORDS)


def matrix_sum(words: np.ndarray) -> str:
    return total(np.ascontiguousarray(words).reshape(-1).view(np.uint8))


@pytest.mark.parametrize("start", range(17))
@pytest.mark.parametrize("stop", range(17))
def test_agrees_with_the_definition_at_every_alignment(start: int, stop: int):
    file = random_bytes(2 * ROW_BYTES + 32)
    for end in (stop, ROW_BYTES + stop, 2 * ROW_BYTES + stop):
        if end >= start:
            assert cross_sum(file, start, end) == slow_cross_sum(file.tobytes(), start, end)


@pytest.mark.parametrize("rows", [63, 64, 65, 130])
def test_agrees_with_the_definition_across_blocks(rows: int):
    file = random_bytes(rows * ROW_BYTES + 21)
    assert cross_sum(file, 5, len(file)) == slow_cross_sum(file.tobytes(), 5, len(file))


def test_notices_every_single_bit():
    file = random_bytes(ROW_BYTES + 24)
    start, stop = 3, len(file) - 2
    right = cross_sum(file, start, stop)
    for place in range(start, stop):
        for bit in range(8):
            file[place] ^= 1 << bit
            assert cross_sum(file, start, stop) != right, (place, bit)
            file[place] ^= 1 << bit
    assert cross_sum(file, start, stop) == right


def test_does_not_look_outside_its_range():
    file = random_bytes(3 * ROW_BYTES)
    right = cross_sum(file, 100, 2 * ROW_BYTES)
    file[:100] ^= 255
    file[2 * ROW_BYTES :] ^= 255
    assert cross_sum(file, 100, 2 * ROW_BYTES) == right


def test_notices_a_longer_range_of_zeros():
    zeros = np.zeros(4 * ROW_BYTES, np.uint8)
    sums = {cross_sum(zeros, 0, stop) for stop in range(0, len(zeros), 4)}
    assert len(sums) == len(zeros) // 4


def test_notices_zeros_that_moved():
    """The same bytes, a run of zeros before or behind them."""
    body = random_bytes(ROW_BYTES)
    sums = set()
    for before in range(0, 2 * ROW_BYTES + 1, 56):
        file = np.zeros(3 * ROW_BYTES, np.uint8)
        file[before : before + ROW_BYTES] = body
        sums.add(total(file))
    assert len(sums) == len(range(0, 2 * ROW_BYTES + 1, 56))


def pairs(size: int, count: int) -> Iterator[tuple[int, int]]:
    rng = np.random.default_rng(1)
    for _ in range(count):
        i, j = rng.choice(size, 2, replace=False)
        yield int(i), int(j)


@pytest.mark.parametrize("axis", [0, 1])
def test_notices_swapped_rows_and_columns(axis: int):
    words = matrix(40)
    right = matrix_sum(words)
    for i, j in pairs(words.shape[axis], 100):
        order = np.arange(words.shape[axis])
        order[[i, j]] = j, i
        assert matrix_sum(np.take(words, order, axis)) != right


@pytest.mark.parametrize("axis", [0, 1])
def test_notices_rotated_rows_and_columns(axis: int):
    words = matrix(6)
    sums = {matrix_sum(np.roll(words, shift, axis)) for shift in range(words.shape[axis])}
    assert len(sums) == words.shape[axis]


def test_notices_any_two_words_that_changed_places():
    words = matrix(3)
    right = matrix_sum(words)
    flat = words.reshape(-1)
    for i, j in pairs(flat.size, 2000):
        flat[[i, j]] = flat[[j, i]]
        assert matrix_sum(words) != right
        flat[[i, j]] = flat[[j, i]]


def test_notices_three_words_whose_changes_sum_to_zero():
    words = matrix(3)
    right = matrix_sum(words)
    rng = np.random.default_rng(2)
    for corners in [(0, 1, 2), (0, 1021, 2042), (0, 1, 1021), *triples(rng, words.size)]:
        changed = words.copy().reshape(-1)
        one, two = rng.integers(1, 2**63, (2, 1), np.uint64)
        changed[list(corners)] += np.concatenate([one, two, -(one + two)])
        assert matrix_sum(changed) != right, corners


def triples(rng: np.random.Generator, size: int) -> Iterator[tuple[int, ...]]:
    for _ in range(500):
        yield tuple(rng.choice(size, 3, replace=False).tolist())


def test_notices_any_change_within_one_row_length():
    file = random_bytes(4 * ROW_BYTES)
    right = total(file)
    rng = np.random.default_rng(3)
    for start in rng.integers(0, len(file) - ROW_BYTES, 300).tolist():
        changed = file.copy()
        changed[start : start + ROW_BYTES] = rng.integers(0, 256, ROW_BYTES, np.uint8)
        assert total(changed) != right
        changed[start : start + ROW_BYTES] = 0
        assert total(changed) != right


@pytest.mark.parametrize(
    "stride", [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 8192, 131072]
)
def test_notices_the_top_bit_flipped_at_regular_places(stride: int):
    """Two flips of a word's top bit cancel in a sum, so no stride may pair them up everywhere."""
    words = matrix(300).reshape(-1)
    right = matrix_sum(words)
    for count in (1, 2, 3, 4, 8, 16, 64, ROW_WORDS, 2 * ROW_WORDS, 4 * ROW_WORDS, words.size):
        changed = words.copy()
        changed[::stride][:count] ^= TOP_BIT
        assert matrix_sum(changed) != right, count
