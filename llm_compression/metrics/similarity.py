"""Similarity between embeddings: pairs of all rows, or row by row."""

from collections.abc import Callable

import numpy as np

from llm_compression.errors import InputError
from llm_compression.spec.model import Similarity

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
_CHUNK = 1 << 24  # elements of a difference tensor held at once


def similarity(kind: Similarity, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, d) and (m, d) -> (n, m) float32, higher is closer; distances are negated.

    Raises:
        InputError: not numeric arrays of one width.
    """
    a, b = _matrix(a), _matrix(b)
    _check_width(a, b)
    return _ALL[kind](a, b).astype(np.float32)


def similarity_pairwise(kind: Similarity, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, d) and (n, d) -> (n,) float32, row i of ``a`` with row i of ``b``.

    Raises:
        InputError: the shapes differ, or the arrays are not numeric.
    """
    a, b = _matrix(a), _matrix(b)
    _check_width(a, b)
    if len(a) != len(b):
        raise InputError(f"pairwise similarity needs as many rows in both: {len(a)} and {len(b)}")
    return _PAIRS[kind](a, b).astype(np.float32)


def unit_rows(x: np.ndarray) -> np.ndarray:
    """(n, d) -> (n, d) with rows of unit length; a zero row stays zero."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norms == 0, 1, norms)


def _matrix(vectors: np.ndarray) -> np.ndarray:
    try:
        array = np.asarray(vectors)
    except ValueError as error:
        raise InputError("similarity takes embeddings of one width; the rows differ") from error
    if array.dtype.kind not in "fiu" or array.ndim not in (1, 2):
        raise InputError(
            f"similarity takes embeddings, (d,) or (n, d) real numbers, not {array.dtype} of "
            f"{array.ndim} axes; for strings use similarity_texts"
        )
    array = array.reshape(0, 0) if array.shape == (0,) else np.atleast_2d(array)
    return array.astype(np.float32, copy=False)


def _check_width(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape[1] != b.shape[1]:
        raise InputError(
            f"embeddings of width {a.shape[1]} and {b.shape[1]} are from different models or cuts"
        )


def _distances(a: np.ndarray, b: np.ndarray, order: int) -> np.ndarray:
    rows = max(1, _CHUNK // max(1, b.size))
    parts = [
        -np.linalg.norm(a[i : i + rows, None] - b[None], ord=order, axis=2)
        for i in range(0, len(a), rows)
    ]
    return np.concatenate(parts) if parts else np.empty((0, len(b)), np.float32)


_ALL: dict[Similarity, Score] = {
    Similarity.COSINE: lambda a, b: unit_rows(a) @ unit_rows(b).T,
    Similarity.DOT: lambda a, b: a @ b.T,
    Similarity.EUCLIDEAN: lambda a, b: _distances(a, b, 2),
    Similarity.MANHATTAN: lambda a, b: _distances(a, b, 1),
}
_PAIRS: dict[Similarity, Score] = {
    Similarity.COSINE: lambda a, b: np.einsum("nd,nd->n", unit_rows(a), unit_rows(b)),
    Similarity.DOT: lambda a, b: np.einsum("nd,nd->n", a, b),
    Similarity.EUCLIDEAN: lambda a, b: -np.linalg.norm(a - b, axis=1),
    Similarity.MANHATTAN: lambda a, b: -np.abs(a - b).sum(axis=1),
}
