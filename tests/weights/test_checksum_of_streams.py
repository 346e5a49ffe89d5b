"""A file has the same checksum whether it is read at once or block by block."""

import io

import numpy as np
import pytest

from llm_compression.weights.checksum import ROW_BYTES, cross_sum, cross_sum_of

BLOCK = 64 * ROW_BYTES


@pytest.mark.parametrize(
    "size", [0, 1, 8, ROW_BYTES - 1, ROW_BYTES, ROW_BYTES + 9, BLOCK, BLOCK + 1, 3 * BLOCK + 10_000]
)
def test_both_ways_agree(size: int):
    content = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    assert cross_sum_of(io.BytesIO(content.tobytes())) == cross_sum(content, 0, size)
