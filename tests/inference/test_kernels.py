"""The private operators of torch, and what happens where they are absent or wrong."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from llm_compression.inference import kernels
from llm_compression.inference.activation import ACTIVATIONS
from llm_compression.spec.block import Activation

DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """Nobody remembers the answers of other tests, nor later ones those of these."""
    kernels.can_pack.cache_clear()
    yield
    kernels.can_pack.cache_clear()


@pytest.mark.parametrize("activation", sorted(kernels.FUSED, key=str))
@pytest.mark.parametrize(("rows", "wide", "narrow"), [(1, 8, 24), (7, 30, 17), (300, 64, 96)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_map_is_the_plain_one(
    activation: Activation | None, rows: int, wide: int, narrow: int, bias: bool
) -> None:
    if not kernels.can_pack(torch.float32):
        pytest.skip("this torch has no packed linear maps on this processor")
    torch.manual_seed(0)
    x, weight = torch.randn(rows, wide), torch.randn(narrow, wide)
    offset = torch.randn(narrow) if bias else None
    plain = F.linear(x, weight, offset)
    packed = kernels.pack_weight(weight)
    wanted = plain if activation is None else ACTIVATIONS[activation](plain)
    got = kernels.packed_linear(x, packed, offset, activation)
    torch.testing.assert_close(got, wanted, atol=2e-5, rtol=1e-5)
    residual = torch.randn(rows, narrow)
    got = kernels.packed_linear_sum(x, residual, packed, offset)
    torch.testing.assert_close(got, plain + residual, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_absent_operator_is_no_kernel(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels.torch, "ops", SimpleNamespace(mkldnn=SimpleNamespace()))
    assert not kernels.can_pack(dtype)


@pytest.mark.parametrize("name", ["packed_linear", "packed_linear_sum"])
def test_a_wrong_operator_is_no_kernel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernels.can_pack(torch.float32):
        pytest.skip("this torch has no packed linear maps on this processor")
    kernels.can_pack.cache_clear()
    right: Callable[..., torch.Tensor] = getattr(kernels, name)
    monkeypatch.setattr(kernels, name, lambda *given: right(*given) * 1.001)
    assert not kernels.can_pack(torch.float32)


def test_a_processor_without_bfloat16_has_no_kernel_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = SimpleNamespace(_is_mkldnn_bf16_supported=lambda: False)
    monkeypatch.setattr(kernels.torch, "ops", SimpleNamespace(mkldnn=absent))
    assert not kernels.can_pack(torch.bfloat16)
