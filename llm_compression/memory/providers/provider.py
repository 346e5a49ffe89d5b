"""EmbeddingProvider: the contract that a memory system calls, as a base class and a protocol."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from llm_compression.errors import InputError

METHODS = ("cosine", "dot", "euclidean")


@runtime_checkable
class EmbeddingProviderProtocol(Protocol):
    """What a memory system calls; a class that has these members fits, whoever wrote it."""

    @property
    def dimension(self) -> int:
        """Width of an embedding."""
        ...

    def get_embedding_dimension(self) -> int:
        """``dimension``."""
        ...

    def encode(self, text: str, normalize: bool = True) -> np.ndarray:  # noqa: FBT001, FBT002  the contract's
        """One text -> (d,) float32."""
        ...

    def encode_batch(
        self,
        texts: list[str],
        batch_size: int = 32,
        normalize: bool = True,  # noqa: FBT001, FBT002
        show_progress: bool = False,  # noqa: FBT001, FBT002
    ) -> np.ndarray:
        """Texts -> (n, d) float32."""
        ...

    def similarity(self, vec1: np.ndarray, vec2: np.ndarray, method: str = "cosine") -> float:
        """Two vectors -> one score."""
        ...

    def similarity_matrix(
        self, vectors: np.ndarray, query_vector: np.ndarray | None = None
    ) -> np.ndarray:
        """(n, d) -> (n, n) dot products, or (n,) with a query."""
        ...


class EmbeddingProvider:
    """Base class of providers: a subclass gives ``dimension``, `encode` and `encode_batch`.

    A text that is empty or white space has the zero vector; no texts give (0, d).
    """

    @property
    def dimension(self) -> int:
        """Width d of an embedding."""
        raise NotImplementedError

    def encode(self, text: str, normalize: bool = True) -> np.ndarray:  # noqa: FBT001, FBT002
        """One text -> (d,) float32."""
        raise NotImplementedError

    def encode_batch(
        self,
        texts: list[str],
        batch_size: int = 32,
        normalize: bool = True,  # noqa: FBT001, FBT002
        show_progress: bool = False,  # noqa: FBT001, FBT002
    ) -> np.ndarray:
        """Texts -> (n, d) float32, always of two axes."""
        raise NotImplementedError

    def get_embedding_dimension(self) -> int:
        """``dimension``."""
        return self.dimension

    def similarity(self, vec1: np.ndarray, vec2: np.ndarray, method: str = "cosine") -> float:
        """The score of two vectors (d,).

        ``cosine``, which is 0.0 where one is zero; ``dot``; ``euclidean``, 1 / (1 + distance).

        Raises:
            InputError: texts, vectors of different width or with NaN, or another method. It is a
                ValueError.
        """
        if method not in METHODS:
            raise InputError(f"method {method!r} is not one of {', '.join(METHODS)}")
        a, b = _vector(vec1, "vec1"), _vector(vec2, "vec2")
        _same_width(a, b)
        if method == "dot":
            return float(a @ b)
        return _cosine(a, b) if method == "cosine" else float(1 / (1 + np.linalg.norm(a - b)))

    def similarity_matrix(
        self, vectors: np.ndarray, query_vector: np.ndarray | None = None
    ) -> np.ndarray:
        """Vectors (n, d) -> (n, n) raw dot products, or (n,) with a query (d,).

        Raises:
            InputError: texts, or vectors of different width or with NaN.
        """
        rows = _numbers(vectors, "vectors")
        rows = rows.reshape(0, 0) if rows.shape == (0,) else rows
        if rows.ndim != 2:
            raise InputError(f"vectors has shape {rows.shape}; pass (n, d)")
        if query_vector is None:
            return _products(rows, rows.T)
        query = _vector(query_vector, "query_vector")
        if len(rows):
            _same_width(rows, query)
        found = _products(rows, query) if len(rows) else np.empty(0)
        return found.astype(rows.dtype) if rows.dtype.kind == "f" else found


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found: np.ndarray = a @ b
    return found


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a / (np.abs(a).max(initial=0) or 1), b / (np.abs(b).max(initial=0) or 1)  # no overflow
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.clip(a @ b / norms, -1, 1)) if norms else 0.0


def _vector(given: Any, name: str) -> np.ndarray:
    """(d,) float64."""
    vector = _numbers(given, name)
    if vector.ndim != 1:
        raise InputError(
            f"{name} has shape {vector.shape}; pass one vector (d,), or many to similarity_matrix"
        )
    return vector.astype(np.float64)


def _same_width(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape[-1] != b.shape[-1]:
        raise InputError(
            f"vectors of width {a.shape[-1]} and {b.shape[-1]} are of different models; compare "
            "vectors of one"
        )


def _numbers(given: Any, name: str) -> np.ndarray:
    """Finite numbers as floats of 32 bits or, where they have these, 64.

    Raises:
        InputError: it holds something else.
    """
    try:
        array = np.asarray(given)
    except ValueError:
        raise InputError(f"{name} holds rows of different widths; pass vectors of one") from None
    if array.dtype.kind in "US" or (array.dtype.kind == "O" and _has_text(array)):
        raise InputError(f"{name} is text; similarity compares vectors, so `encode` texts first")
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name} holds {array.dtype}; pass vectors of numbers")
    array = array.astype(np.float64 if array.dtype == np.float64 else np.float32, copy=False)
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or infinite values; embed its source again")
    return array


def _has_text(array: np.ndarray) -> bool:
    return any(isinstance(value, str) for value in array.flat)
