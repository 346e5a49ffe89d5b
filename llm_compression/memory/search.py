"""Exact nearest neighbours by dot product, block by block in bounded memory."""

import numpy as np

from llm_compression.errors import InputError

_BLOCK_ROWS = 1 << 16


def top_k(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` rows of ``vectors`` (n, d) with the highest dot product for each query (q, d).

    Returns:
        Row numbers and scores, (q, min(k, n)) each, best first; equal scores in row order.

    Raises:
        InputError: widths differ, or ``k`` is below 1.
    """
    if k < 1:
        raise InputError(f"top_k is {k}; it must be at least 1")
    if queries.shape[1] != vectors.shape[1]:
        raise InputError(f"queries are {queries.shape[1]} wide, vectors {vectors.shape[1]}")
    rows = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = queries @ vectors[start : start + _BLOCK_ROWS].T  # (q, rows of the block)
        numbers = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        rows, scores = _best(np.hstack([rows, numbers]), np.hstack([scores, block]), k)
    return rows, scores


def _best(rows: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
