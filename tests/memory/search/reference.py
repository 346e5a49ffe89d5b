"""Brute force in float64, vectors to search among, and storages that hold them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.search.options import Match
from llm_compression.memory.vector_storage import VectorStorage

TOLERANCE = 1e-6


def random(n: int, d: int, seed: int = 0) -> np.ndarray:
    """(n, d) float32 of lengths far from 1."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, d)) * rng.uniform(0.2, 5, (n, 1))
    return vectors.astype(np.float32)


def clustered(n: int, d: int, clusters: int = 20, seed: int = 0) -> np.ndarray:
    """(n, d) float32 of unit length, around a few centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, d))
    vectors = centres[rng.integers(0, clusters, n)] + 0.5 * rng.normal(size=(n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def scores_of(queries: np.ndarray, vectors: np.ndarray, metric: str = "cosine") -> np.ndarray:
    """(m, d) and (n, d) -> (m, n) float64; the cosine with a zero vector is 0."""
    a, b = np.atleast_2d(queries).astype(np.float64), vectors.astype(np.float64)
    products = a @ b.T
    if metric == "dot":
        return products
    lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)


def names(n: int, start: int = 0) -> list[str]:
    return [f"row {i}" for i in range(start, start + n)]


def stored(
    path: Path,
    vectors: np.ndarray,
    *,
    fragments: int = 1,
    modality: str = "text",
    **options: object,
) -> VectorStorage:
    """A storage of ``vectors`` under `names`, in so many fragments."""
    storage = VectorStorage(path, auto_compact=False, **options)  # type: ignore[arg-type]
    store(storage, vectors, fragments=fragments, modality=modality)
    return storage


def store(
    storage: VectorStorage, vectors: np.ndarray, *, start: int = 0, fragments: int = 1,
    modality: str = "text", **columns: object,
) -> None:  # fmt: skip
    made = VectorIdentity.declared(
        modality, "m", vectors.shape[1], normalized=False, precision="float32"
    )
    for rows in np.array_split(np.arange(len(vectors)), fragments):
        ids = [f"row {start + i}" for i in rows]
        storage.store(modality, ids, ids, vectors[rows], identity=made, **columns)  # type: ignore[arg-type]


def same(
    found: Sequence[Match], scores: np.ndarray, k: int, *, ids: Sequence[str] | None = None
) -> None:
    """What was found are the k best of ``scores`` (n,), equal ones in the order of storing."""
    ids = names(len(scores)) if ids is None else ids
    order = np.argsort(-scores, kind="stable")[:k]
    assert [match.embedding_id for match in found] == [ids[i] for i in order]
    scale = max(1.0, float(np.abs(scores).max(initial=0)))
    np.testing.assert_allclose(
        [match.score for match in found], scores[order], rtol=0, atol=TOLERANCE * scale
    )


def recall(found: Sequence[Sequence[Match]], scores: np.ndarray, k: int = 10) -> float:
    """How many of the k best of each row of ``scores`` (m, n) were found."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = [
        len({match.embedding_id for match in matches} & {f"row {i}" for i in rows})
        for matches, rows in zip(found, best, strict=True)
    ]
    return sum(hits) / best.size
