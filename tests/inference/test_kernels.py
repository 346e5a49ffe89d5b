"""The private operators of torch, and what happens where they are absent or wrong."""

import threading
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
    for question in (kernels.can_pack, kernels._products_are_exact):
        question.cache_clear()
    yield
    for question in (kernels.can_pack, kernels._products_are_exact):
        question.cache_clear()


def switch() -> str:
    """Where it stands; on a torch that has none, nowhere."""
    products = getattr(torch.backends.mkldnn, "matmul", None)
    return getattr(products, "fp32_precision", "absent")


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


def test_products_inside_are_as_exact_and_the_switch_goes_back() -> None:
    before = switch()
    a, b = torch.rand(300, 200), torch.rand(200, 500)
    wanted = a.double() @ b.double()
    with kernels.fast_products():
        got = a @ b
        with kernels.fast_products():  # also one within another
            pass
        inside = switch()
    assert (inside == "bf16") is kernels._products_are_exact()
    assert switch() == before
    torch.testing.assert_close(got.double(), wanted, rtol=1e-6, atol=0)


def test_the_switch_goes_back_after_an_error_and_among_threads() -> None:
    before = switch()
    met = threading.Barrier(3, timeout=20)

    def work() -> None:
        for _ in range(20):
            with kernels.fast_products():
                met.wait()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(ZeroDivisionError), kernels.fast_products():
        _ = 1 / 0
    assert switch() == before


@pytest.mark.parametrize("reason", ["matrix units", "another interface", "rounding"])
def test_where_products_would_lose_digits_nothing_is_switched(
    reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "matrix units":
        monkeypatch.setattr(kernels.torch.cpu, "_is_amx_tile_supported", lambda: True)
    elif reason == "another interface":
        monkeypatch.setattr(kernels, "_products", SimpleNamespace)
    else:
        product = torch.mm
        rounded = lambda a, b: product(a.bfloat16(), b.bfloat16()).to(a.dtype)  # noqa: E731
        monkeypatch.setattr(
            kernels.torch,
            "mm",
            lambda a, b: (rounded if a.dtype is torch.float32 else product)(a, b),
        )
    assert not kernels._products_are_exact()
    before = switch()
    with kernels.fast_products():
        assert switch() == before
