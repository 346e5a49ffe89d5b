"""Scores of queries against a matrix of rows, in float32, int8 and single bits.

Each gives blocks (m, b) of scores, higher is nearer, so that memory does not grow with the rows.
"""

import ctypes
import functools
from collections.abc import Callable, Iterator

import numpy as np

_SCORES = 1 << 23  # scores held at once, 32 MiB
Block = tuple[int, np.ndarray]  # first row, scores (m, b)
Int8Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


def block_rows(queries: int) -> int:
    """Rows of one block."""
    return max(1024, min(1 << 17, _SCORES // max(1, queries)))


def float_scores(queries: np.ndarray, rows: np.ndarray) -> Iterator[Block]:
    """Inner products of (m, d) with (n, d) float32."""
    size = block_rows(len(queries))
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        if len(queries) == 1:  # a matrix-vector product runs at the speed of memory
            yield start, (block @ queries[0])[None]
        else:
            yield start, queries @ block.T


def int8_scores(queries: np.ndarray, codes: np.ndarray, scales: np.ndarray) -> Iterator[Block]:
    """Inner products of (m, d) float32, in int8, with (n, d) int8 times (n,) scales; inexact."""
    steps = np.abs(queries).max(axis=1, keepdims=True) / np.float32(127)
    levels = np.rint(queries / np.where(steps == 0, 1, steps)).astype(np.int8)
    product, size = int8_product(), block_rows(len(queries))
    for start in range(0, len(codes), size):
        found = product(codes[start : start + size], levels).astype(np.float32)  # (b, m)
        found *= scales[start : start + size, None]
        yield start, (found.T * steps)


def bit_scores(queries: np.ndarray, bits: np.ndarray) -> Iterator[Block]:
    """Minus the number of differing signs, of (m, w) with (n, w) uint64."""
    size = min(1 << 14, block_rows(len(queries)))
    for start in range(0, len(bits), size):
        block = bits[start : start + size]
        found = np.empty((len(queries), len(block)), np.float32)
        for i, query in enumerate(queries):
            found[i] = _differing(block, query)
        yield start, -found


def _differing(block: np.ndarray, query: np.ndarray) -> np.ndarray:
    if hasattr(np, "bitwise_count"):
        counts = np.bitwise_count(block ^ query)
    else:  # numpy 1.26
        counts = _ONES[(block ^ query).view(np.uint8)]
    found: np.ndarray = counts.sum(axis=1, dtype=np.int32)
    return found


_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


@functools.cache
def int8_product() -> Int8Product:
    """(b, d) int8 and (m, d) int8 -> (b, m) integers; oneDNN's where this torch has it."""
    a = np.arange(-64, 64, dtype=np.int8).reshape(4, 32)
    right = a.astype(np.int32) @ a.astype(np.int32).T
    try:
        if np.array_equal(_torch_product(a, a), right):
            return _torch_product
    except (ImportError, AttributeError, RuntimeError):
        pass  # a torch without the operator: it is a private one
    return _plain_product


def _torch_product(codes: np.ndarray, levels: np.ndarray) -> np.ndarray:
    import torch

    memory = (ctypes.c_int8 * codes.size).from_address(codes.ctypes.data)  # mapped: not writable
    rows = torch.frombuffer(memory, dtype=torch.int8).reshape(codes.shape)
    columns = torch.from_numpy(np.ascontiguousarray(levels.T))
    found: np.ndarray = torch._int_mm(rows, columns).numpy()
    return found


def _plain_product(codes: np.ndarray, levels: np.ndarray) -> np.ndarray:
    found: np.ndarray = codes.astype(np.float32) @ levels.astype(np.float32).T
    return found
