"""Pooling on hidden states worked by hand."""

import numpy as np
import pytest
import torch

from llm_compression.inference.sequences import Sequences
from llm_compression.multimodal.pooling import mean_of_first, normalize, pool, pooled_rows
from llm_compression.spec.model import Pooling

# one sequence of two tokens, one of three
HIDDEN = torch.tensor([[1.0, 2.0], [3.0, -4.0], [0.5, 1.0], [1.5, 3.0], [4.0, -1.0]])
IDS = torch.tensor([1, 7, 7, 3, 7])  # the second holds the end token's id twice


@pytest.mark.parametrize(
    ("pooling", "wanted"),
    [
        (Pooling.MEAN, [[2.0, -1.0], [2.0, 1.0]]),
        (Pooling.CLS, [[1.0, 2.0], [0.5, 1.0]]),
        (Pooling.MAX, [[3.0, 2.0], [4.0, 3.0]]),
        (Pooling.LAST_TOKEN, [[3.0, -4.0], [4.0, -1.0]]),
        (Pooling.EOS, [[3.0, -4.0], [0.5, 1.0]]),
        (Pooling.MAX_ID, [[3.0, -4.0], [0.5, 1.0]]),
    ],
)
def test_pooling_keeps_to_each_sequence(pooling: Pooling, wanted: list[list[float]]) -> None:
    assert pool(pooling, HIDDEN, IDS, Sequences.of([2, 3]), 7).tolist() == wanted


@pytest.mark.parametrize("pooling", Pooling)
def test_rows_that_pooling_takes(pooling: Pooling) -> None:
    sequences = Sequences.of([2, 3])
    rows = pooled_rows(pooling, IDS, sequences, 7)
    if pooling in (Pooling.MEAN, Pooling.MAX):
        assert rows is None
    else:
        assert torch.equal(HIDDEN[rows], pool(pooling, HIDDEN, IDS, sequences, 7))


def test_a_mean_of_the_first() -> None:
    hidden = torch.stack([HIDDEN[2:], HIDDEN[2:]])
    assert mean_of_first(hidden, torch.tensor([1, 3])).tolist() == [[0.5, 1.0], [2.0, 1.0]]


def test_normalize_keeps_a_zero_vector() -> None:
    unit = normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(unit.numpy(), [[0.6, 0.8], [0, 0]], rtol=1e-7)
