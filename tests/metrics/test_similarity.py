"""Scores on vectors worked by hand."""

import numpy as np
import pytest

from llm_compression.errors import InputError
from llm_compression.metrics.similarity import similarity, similarity_pairwise
from llm_compression.spec.model import Similarity

A = np.array([[3.0, 4.0], [0.0, 2.0]], np.float32)
B = np.array([[3.0, 4.0], [4.0, 3.0], [0.0, 0.0]], np.float32)
WANTED = {
    Similarity.COSINE: [[1, 0.96, 0], [0.8, 0.6, 0]],
    Similarity.DOT: [[25, 24, 0], [8, 6, 0]],
    Similarity.EUCLIDEAN: [[0, -(2**0.5), -5], [-(13**0.5), -(17**0.5), -2]],
    Similarity.MANHATTAN: [[0, -2, -7], [-5, -5, -2]],
}


@pytest.mark.parametrize("kind", Similarity)
def test_all_pairs(kind: Similarity) -> None:
    got = similarity(kind, A, B)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, WANTED[kind], atol=1e-6)


@pytest.mark.parametrize("kind", Similarity)
def test_pairwise_is_the_diagonal(kind: Similarity) -> None:
    np.testing.assert_allclose(
        similarity_pairwise(kind, A, B[:2]), np.diag(np.array(WANTED[kind])[:, :2]), atol=1e-6
    )


def test_one_vector_is_one_row() -> None:
    assert similarity(Similarity.DOT, A[0], B).shape == (1, 3)


@pytest.mark.parametrize("bad", [["a", "b"], "text", np.zeros((1, 2, 3)), [None], [[1j]]])
def test_strings_cubes_and_complex_numbers_are_refused(bad: object) -> None:
    with pytest.raises(InputError, match="similarity_texts"):
        similarity(Similarity.COSINE, bad, A)  # type: ignore[arg-type]


def test_widths_must_agree() -> None:
    with pytest.raises(InputError, match="width 2 and 3"):
        similarity(Similarity.COSINE, A, np.zeros((1, 3)))
    with pytest.raises(InputError, match="as many rows"):
        similarity_pairwise(Similarity.DOT, A, B)
