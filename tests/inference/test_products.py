"""Products of float32 keep their digits, and torch's switches go back to where they were."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import torch

from llm_compression.inference import products
from llm_compression.inference.products import as_asked, fast_products

NEW = products._of("mkldnn") is not None
needs_switch = pytest.mark.skipif(not NEW, reason="torch before 2.9 has one switch for all")


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """Nobody remembers the answers of other tests, nor later ones those of these."""
    answer = products._bfloat16_is_exact
    answer.cache_clear()
    yield
    answer.cache_clear()


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A processor that loses digits where it may, and a process that lets it."""
    monkeypatch.setattr(products, "_bfloat16_is_exact", lambda: False)
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


def switch(backend: str = "mkldnn") -> str:
    return products._precision(backend)


def test_products_inside_are_as_exact_and_the_switch_goes_back() -> None:
    before = switch()
    a, b = torch.rand(300, 200), torch.rand(200, 500)
    wanted = a.double() @ b.double()
    with fast_products():
        got = a @ b
        with fast_products():  # also one within another
            pass
        inside = switch()
    assert (inside == "bf16") is products._bfloat16_is_exact()
    assert switch() == before
    torch.testing.assert_close(got.double(), wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("context", [fast_products, lambda: as_asked("cpu")])
@pytest.mark.parametrize("callers", ["highest", "medium"])
def test_the_switch_goes_back_after_an_error_and_among_threads(
    context: Callable[[], AbstractContextManager[None]], callers: str
) -> None:
    torch.set_float32_matmul_precision(callers)
    before = switch()
    met = threading.Barrier(3, timeout=20)

    def work() -> None:
        for _ in range(20):
            with context():
                met.wait()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(ZeroDivisionError), context():
        _ = 1 / 0
    assert switch() == before
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("reason", ["matrix units", "another interface", "rounding"])
def test_where_products_would_lose_digits_nothing_is_let_go(
    reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "matrix units":
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    elif reason == "another interface":
        monkeypatch.setattr(products, "_of", lambda backend: None)
    else:
        product = torch.mm
        rounded = lambda a, b: product(a.bfloat16(), b.bfloat16()).to(a.dtype)  # noqa: E731
        monkeypatch.setattr(
            torch, "mm", lambda a, b: (rounded if a.dtype is torch.float32 else product)(a, b)
        )
    assert not products._bfloat16_is_exact()
    before = switch()
    with fast_products():
        assert switch() == before


def test_products_are_those_of_float32_whatever_the_process_allows(losing: None) -> None:
    a, b = torch.rand(300, 200), torch.rand(200, 500)
    with as_asked("cpu"):
        got = a @ b
    torch.testing.assert_close(got.double(), a.double() @ b.double(), rtol=1e-6, atol=0)


@needs_switch
@pytest.mark.parametrize(
    ("device", "backend", "callers"), [("cpu", "mkldnn", "bf16"), ("cuda", "cuda", "tf32")]
)
def test_each_device_has_its_own_switch(
    device: str, backend: str, callers: str, losing: None
) -> None:
    assert switch(backend) == callers
    with as_asked(device):
        assert switch(backend) == "ieee"
        with as_asked(device):
            pass
        assert switch(backend) == "ieee"
    assert switch(backend) == callers


@needs_switch
def test_what_a_caller_sets_meanwhile_stays(losing: None) -> None:
    with as_asked("cpu"):
        torch.set_float32_matmul_precision("highest")
    assert torch.get_float32_matmul_precision() == "highest"
    assert switch() == "ieee"
    torch.set_float32_matmul_precision("medium")
    with as_asked("cpu"):
        torch.set_float32_matmul_precision("high")
    assert (torch.get_float32_matmul_precision(), switch()) == ("high", "tf32")
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
    with as_asked("cpu"):
        torch.backends.mkldnn.matmul.fp32_precision = "none"  # type: ignore[attr-defined]
    assert switch() == "none"


def test_other_devices_have_none(losing: None) -> None:
    before = switch()
    with as_asked("meta"):
        assert switch() == before


@needs_switch
def test_the_switch_follows_again_what_stands_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_bfloat16_is_exact", lambda: False)
    matmul, above = torch.backends.mkldnn.matmul, torch.backends.mkldnn  # type: ignore[attr-defined]
    matmul.fp32_precision = "none"
    try:
        above.fp32_precision = "bf16"  # type: ignore[attr-defined]
        with as_asked("cpu"):
            assert switch() == "ieee"
        assert switch() == "bf16"
        with as_asked("cpu"):
            above.fp32_precision = "tf32"  # type: ignore[attr-defined]
        assert switch() == "tf32"
    finally:
        above.fp32_precision = "none"  # type: ignore[attr-defined]
    assert switch() == "none"


def test_before_torch_2_9_one_switch_is_for_all(
    losing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_of", lambda backend: None)
    with as_asked("cpu"):
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == "medium"
