"""The contract of EmbeddingProvider: scores of vectors, and classes of others that fit."""

import math

import numpy as np
import pytest

from llm_compression import EmbeddingProvider
from llm_compression.errors import InputError
from llm_compression.memory.providers.provider import EmbeddingProviderProtocol

PROVIDER = EmbeddingProvider()
A, B = np.float32([3, 4]), np.float32([4, 3])


class Theirs:
    """Of another package, knowing nothing of ours."""

    dimension = 2

    def get_embedding_dimension(self) -> int:
        return 2

    def encode(self, text: str, normalize: bool = True) -> np.ndarray:
        return A

    def encode_batch(self, texts, batch_size=32, normalize=True, show_progress=False):
        return np.stack([A for _ in texts])

    def similarity(self, vec1, vec2, method="cosine") -> float:
        return 1.0

    def similarity_matrix(self, vectors, query_vector=None) -> np.ndarray:
        return vectors @ vectors.T


class Embedder(EmbeddingProvider):
    """As callers write one: the two methods and the width."""

    dimension = 2

    def encode(self, text, normalize=True):
        return A


def test_what_a_subclass_must_give():
    assert Embedder().get_embedding_dimension() == 2
    assert Embedder().similarity(Embedder().encode("a"), B) == pytest.approx(24 / 25)
    for call in (lambda: PROVIDER.dimension, lambda: PROVIDER.encode("a"),
                 lambda: PROVIDER.encode_batch(["a"])):  # fmt: skip
        with pytest.raises(NotImplementedError):
            call()


def test_classes_of_others_fit_by_their_members():
    assert isinstance(Theirs(), EmbeddingProviderProtocol)
    assert isinstance(Embedder(), EmbeddingProviderProtocol)
    assert not isinstance(object(), EmbeddingProviderProtocol)


@pytest.mark.parametrize(
    ("method", "score"), [("cosine", 24 / 25), ("dot", 24), ("euclidean", 1 / (1 + math.sqrt(2)))]
)
def test_scores(method: str, score: float):
    found = PROVIDER.similarity(A, B, method)
    assert type(found) is float
    assert found == pytest.approx(score)


def test_cosine_is_what_is_meant_unasked():
    assert PROVIDER.similarity(A, 2 * A) == pytest.approx(1)


def test_a_zero_vector_is_like_nothing():
    assert PROVIDER.similarity(A, np.zeros(2)) == 0.0
    assert PROVIDER.similarity(np.zeros(2), np.zeros(2)) == 0.0


@pytest.mark.parametrize("size", [1e-40, 1e300])
def test_lengths_do_not_overflow_a_cosine(size: float):
    assert PROVIDER.similarity(A * np.float64(size), B) == pytest.approx(24 / 25)


def test_another_method_is_a_value_error():
    with pytest.raises(ValueError, match="'manhattan' is not one of cosine, dot, euclidean"):
        PROVIDER.similarity(A, B, "manhattan")


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ((A, np.ones(3)), "width 2 and 3"),
        ((A, [1.0, float("nan")]), "vec2 holds NaN"),
        (([math.inf, 0], A), "vec1 holds NaN or infinite"),
        (("the cat", "the dog"), "vec1 is text; .* `encode` texts first"),
        ((A, ["a", "b"]), "vec2 is text"),
        ((A, A[None]), r"vec2 has shape \(1, 2\)"),
        ((A, [True, False]), "vec2 holds bool"),
        ((A, [[1], [1, 2]]), "different widths"),
        ((A, None), "vec2 holds object"),
    ],
)
def test_what_is_no_pair_of_vectors(pair: tuple[object, object], said: str):
    with pytest.raises(InputError, match=said):
        PROVIDER.similarity(*pair)


def test_a_matrix_of_raw_products():
    rows = np.stack([A, B, A])
    np.testing.assert_array_equal(
        PROVIDER.similarity_matrix(rows), [[25, 24, 25], [24, 25, 24], [25, 24, 25]]
    )
    np.testing.assert_array_equal(PROVIDER.similarity_matrix(rows, B), [24, 25, 24])


def test_int8_vectors_do_not_overflow():
    rows = np.full((1, 2), 100, np.int8)
    np.testing.assert_array_equal(PROVIDER.similarity_matrix(rows), [[20000]])


def test_a_matrix_of_no_vectors():
    none = np.empty((0, 2), np.float32)
    assert PROVIDER.similarity_matrix(none).shape == (0, 0)
    assert PROVIDER.similarity_matrix(none, A).shape == (0,)
    assert PROVIDER.similarity_matrix([], A).shape == (0,)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((A,), r"vectors has shape \(2,\)"),
        ((np.stack([A, B]), np.ones(3)), "width 2 and 3"),
        ((["the cat", "the dog"],), "vectors is text"),
        ((np.stack([A, B]), [1.0, math.nan]), "query_vector holds NaN"),
    ],
)
def test_what_is_no_matrix(given: tuple[object, ...], said: str):
    with pytest.raises(InputError, match=said):
        PROVIDER.similarity_matrix(*given)
