"""Pooling on hidden states worked by hand."""

import numpy as np
import pytest
import torch

from llm_compression.multimodal.pooling import PaddedTokens, normalize, pool
from llm_compression.spec.model import Pooling

HIDDEN = torch.tensor(
    [[[1.0, 2.0], [3.0, -4.0], [100.0, 100.0]], [[0.5, 1.0], [1.5, 3.0], [4.0, -1.0]]]
)
# padding has the end token's id in the first row; the second holds it twice
IDS = torch.tensor([[1, 7, 9], [7, 3, 7]])
MASK = torch.tensor([[True, True, False], [True, True, True]])


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
def test_pooling_leaves_padding_out(pooling: Pooling, wanted: list[list[float]]) -> None:
    assert pool(pooling, HIDDEN, PaddedTokens(IDS, MASK, eos_token_id=7)).tolist() == wanted


def test_normalize_keeps_a_zero_vector() -> None:
    unit = normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(unit.numpy(), [[0.6, 0.8], [0, 0]], rtol=1e-7)
