"""Scores of queries against rows, in float32, int8 and single bits; higher is nearer."""

import ctypes
import functools
from collections.abc import Callable

import numpy as np

_SCORES = 1 << 23  # scores held at once, 32 MiB
Int8Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


def block_rows(queries: int) -> int:
    """Rows to score at once, so that memory does not grow with all of them."""
    return max(1024, min(1 << 17, _SCORES // max(1, queries)))


def float_scores(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Inner products (m, n) of (m, d) with (n, d) float32."""
    one = len(queries) == 1  # a matrix-vector product runs at the speed of memory
    found: np.ndarray = (rows @ queries[0])[None] if one else queries @ rows.T
    return found


def int8_scores(queries: np.ndarray, codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Inner products (m, n) of (m, d) float32, in int8, with (n, d) int8 times (n,) scales."""
    steps = np.abs(queries).max(axis=1, keepdims=True) / np.float32(127)
    levels = np.rint(queries / np.where(steps == 0, 1, steps)).astype(np.int8)
    product = int8_product()(codes, levels).astype(np.float32)  # (n, m)
    product *= scales[:, None]
    found: np.ndarray = product.T * steps
    return found


def bit_scores(queries: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Minus the number (m, n) of differing signs, of (m, w) with (n, w) uint64."""
    found = np.empty((len(queries), len(bits)), np.float32)
    for start in range(0, len(bits), _BITS):
        block = bits[start : start + _BITS]
        for i, query in enumerate(queries):
            found[i, start : start + _BITS] = _differing(block, query)
    return -found


_BITS = 1 << 14  # rows that stay in the cache from one query to the next


def _differing(block: np.ndarray, query: np.ndarray) -> np.ndarray:
    if hasattr(np, "bitwise_count"):
        counts = np.bitwise_count(block ^ query)
    else:  # numpy 1.26
        counts = _ONES[(block ^ query).view(np.uint8)]
    found: np.ndarray = counts.sum(axis=1, dtype=np.int32)
    return found


_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def lengths(vectors: np.ndarray) -> np.ndarray:
    """(n, d) -> (n,) Euclidean lengths, in blocks that stay in the cache.

    The sums are of float64, as squares of float32 values leave its range.
    """
    found = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), 4096):
        block = vectors[start : start + 4096].astype(np.float64)
        found[start : start + 4096] = np.sqrt(np.einsum("nd,nd->n", block, block))
    return found


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
