"""Norms by the compiled library beside torch's."""

import pytest
import torch

from llm_compression.inference.native_norm import native_norm
from llm_compression.inference.norm import LayerNorm
from llm_compression.inference.trial import usable
from llm_compression.native.library import Kind


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 384), (11, 35), (2, 50, 768), (0, 16)])
def test_is_the_same(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    functions = usable(Kind.FLOAT32)
    if functions is None:
        pytest.skip("no compiled core here")
    norm = LayerNorm(torch.randn(shape[-1]), torch.randn(shape[-1]), 1e-5)
    x = (3 * torch.randn(shape) + 1).to(dtype)
    found = native_norm(norm, functions)(x)
    assert (found.dtype, found.shape) == (dtype, x.shape)
    bound = 1e-5 if dtype is torch.float32 else 0.05
    torch.testing.assert_close(found.float(), norm(x.float()), atol=bound, rtol=bound)


def test_rows_that_lie_otherwise_in_memory() -> None:
    functions = usable(Kind.FLOAT32)
    if functions is None:
        pytest.skip("no compiled core here")
    norm, x = LayerNorm(torch.randn(48), torch.randn(48), 1e-5), torch.randn(48, 9).T
    torch.testing.assert_close(native_norm(norm, functions)(x), norm(x), atol=1e-5, rtol=1e-5)
