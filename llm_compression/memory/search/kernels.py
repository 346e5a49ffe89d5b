"""Scores of queries against rows, in float32, int8 and single bits; higher is nearer."""

import ctypes
import functools
from collections.abc import Callable

import numpy as np

from llm_compression.cores import cores
from llm_compression.threads import shared

_SCORES = 1 << 23  # scores held at once, 32 MiB
Int8Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


def block_rows(queries: int) -> int:
    """Rows to score at once, so that memory does not grow with all of them."""
    return max(1024, min(1 << 17, _SCORES // max(1, queries)))


def float_scores(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Inner products (m, n) of (m, d) with (n, d) float32.

    Those of one query wait for memory alone, so a BLAS would gain little, and cost what
    `threads.shared` says.
    """
    if len(queries) != 1:
        products: np.ndarray = queries @ rows.T
        return products
    found = np.empty(len(rows), np.float32)
    shared(
        lambda at: np.einsum("nd,d->n", rows[at], queries[0], out=found[at]),
        _stretches(len(rows), len(rows)),
    )
    return found[None]


def int8_scores(queries: np.ndarray, codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Inner products (m, n) of (m, d) float32, in int8, with rows as `Twin.int8` has them.

    Those of each query are in a unit of its own.
    """
    most = np.abs(queries).max(axis=1, keepdims=True).astype(np.float64)  # 127 / float32 overflows
    levels = np.rint(queries * (127 / most)).astype(np.int8)
    product = int8_product()(codes, levels)  # (n, m)
    found = product.astype(np.float32)
    found -= levels.sum(axis=1, dtype=np.float32) * OFFSET
    found *= scales[:, None]
    return found.T


WIDEST = (2**31 - 1) // (255 * 127)  # values of which int8 products fit the 32 bits of their sums
OFFSET = 128  # of the codes: processors multiply unsigned bytes by signed ones


def bit_scores(queries: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Minus the number (m, n) of differing signs, of (m, w) with (n, w) uint64."""
    found = np.empty((len(queries), len(bits)), np.float32)

    def count(at: slice) -> None:
        for i, query in enumerate(queries):
            np.negative(_differing(bits[at], query), out=found[i, at], casting="unsafe")

    shared(count, _stretches(len(bits), _BITS))
    return found


_BITS = 1 << 14  # rows that stay in the cache from one query to the next


def _differing(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    if not hasattr(np, "bitwise_count"):  # numpy 1.26
        counts: np.ndarray = _ONES[(rows ^ query).view(np.uint8)].sum(axis=1, dtype=np.int32)
        return counts
    counts = np.zeros(len(rows), np.int32)
    for column, word in zip(rows.T, query, strict=True):  # faster than a sum along short rows
        counts += np.bitwise_count(column ^ word)
    return counts


_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def _stretches(n: int, most: int) -> list[slice]:
    """``n`` rows in stretches of at most ``most``, as many for each core."""
    pieces = max(1, -(-n // max(1, most)))
    if n > _LEAST:
        pieces = -(-pieces // cores()) * cores()
    size = max(1, -(-n // pieces))
    return [slice(start, min(n, start + size)) for start in range(0, n, size)]


_LEAST = 4096  # rows, below which threads cost more than they save


@functools.cache
def int8_product() -> Int8Product:
    """(b, d) uint8 and (m, d) int8 -> (b, m) integers; oneDNN's where this torch has it."""
    codes = np.arange(256, dtype=np.uint8).reshape(4, 64)
    levels = np.full((1, 64), 127, np.int8)  # sums of two beyond 16 bits, which some saturate
    try:
        if np.array_equal(_torch_product(codes, levels), _plain_product(codes, levels)):
            return _torch_product
    except (ImportError, AttributeError, RuntimeError):
        pass  # a torch without the operator: it is a private one
    return _plain_product


def _torch_product(codes: np.ndarray, levels: np.ndarray) -> np.ndarray:
    import torch

    memory = (ctypes.c_uint8 * codes.size).from_address(codes.ctypes.data)  # mapped: not writable
    rows = torch.frombuffer(memory, dtype=torch.uint8).reshape(codes.shape)
    columns = torch.from_numpy(np.ascontiguousarray(levels.T))
    found: np.ndarray = torch._int_mm(rows, columns).numpy()
    return found


def _plain_product(codes: np.ndarray, levels: np.ndarray) -> np.ndarray:
    found: np.ndarray = codes.astype(np.float32) @ levels.astype(np.float32).T
    return found
