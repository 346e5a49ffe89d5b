"""Pooling on hidden states worked by hand."""

import numpy as np
import pytest
import torch

from llm_compression.multimodal.pooling import normalize, pool
from llm_compression.spec.model import Pooling

HIDDEN = torch.tensor(
    [[[1.0, 2.0], [3.0, -4.0], [100.0, 100.0]], [[0.5, 1.0], [1.5, 3.0], [4.0, -1.0]]]
)
MASK = torch.tensor([[True, True, False], [True, True, True]])


@pytest.mark.parametrize(
    ("pooling", "wanted"),
    [
        (Pooling.MEAN, [[2.0, -1.0], [2.0, 1.0]]),
        (Pooling.CLS, [[1.0, 2.0], [0.5, 1.0]]),
        (Pooling.MAX, [[3.0, 2.0], [4.0, 3.0]]),
        (Pooling.LAST_TOKEN, [[3.0, -4.0], [4.0, -1.0]]),
    ],
)
def test_pooling_leaves_padding_out(pooling: Pooling, wanted: list[list[float]]) -> None:
    assert pool(pooling, HIDDEN, MASK).tolist() == wanted


def test_normalize_keeps_a_zero_vector() -> None:
    unit = normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(unit.numpy(), [[0.6, 0.8], [0, 0]], rtol=1e-7)
