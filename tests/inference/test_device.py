"""Devices by name, the types each computes in, and the ways there and back."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from llm_compression.errors import InputError
from llm_compression.inference.device import check_compute_dtype, device_of, fetched, sent

CUDA = torch.device("cuda", 1)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)


@pytest.mark.parametrize("given", ["cpu", "cpu:0", torch.device("cpu"), torch.device("cpu", 0)])
def test_the_cpu(given: object) -> None:
    assert device_of(given) == torch.device("cpu")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("given", "index"),
    [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), (torch.device("cuda"), 0), (CUDA, 1)],
)
def test_a_gpu(given: object, index: int) -> None:
    assert device_of(given) == torch.device("cuda", index)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_was_made_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert device_of("cuda") == CUDA
    assert device_of("cuda:0") == torch.device("cuda", 0)


@pytest.mark.parametrize(
    "given",
    ["gpu", "mps", "CUDA", "cuda:", "cuda:-1", "cuda:01", "cuda:x", "cpu:1", "", " cpu", "meta",
     torch.device("meta"), 0, None, b"cpu"],
)  # fmt: skip
def test_what_is_no_device(given: object) -> None:
    with pytest.raises(InputError, match=r"device is .*; pass 'cpu', 'cuda' or 'cuda:N'"):
        device_of(given)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("index", [2, 10, 128, 10**9])
def test_a_gpu_beyond_the_last(index: int) -> None:
    with pytest.raises(InputError, match=f"device is 'cuda:{index}', but the last .* 'cuda:1'"):
        device_of(f"cuda:{index}")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
@pytest.mark.parametrize(
    ("built", "remedy"), [(False, "built for the CPU alone; install"), (True, "nvidia-smi")]
)
def test_no_gpu_at_all(
    name: str, built: bool, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
    with pytest.raises(InputError, match=f"device is '{name}', but .*{remedy}"):
        device_of(name)


@pytest.mark.parametrize(
    ("name", "device", "said"),
    [
        ("float16", "cpu", "on the CPU use 'bfloat16'"),
        ("int8", "cuda", "on a GPU use 'float16'"),
        ("int8", "cuda:1", "on a GPU use 'float16'"),
        ("int4", "cpu", "'int4' is not one of float32, bfloat16, float16, int8"),
        ("half", "cuda", "'half' is not one of"),
    ],
)
def test_types_that_a_device_does_not_compute_in(name: str, device: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_compute_dtype(name, device)


@pytest.mark.parametrize(
    ("name", "device"),
    [("float32", "cpu"), ("bfloat16", "cpu"), ("int8", "cpu"),
     ("float32", "cuda"), ("bfloat16", "cuda"), ("float16", "cuda:1")],
)  # fmt: skip
def test_types_that_a_device_computes_in(name: str, device: str) -> None:
    check_compute_dtype(name, device)


def test_to_the_cpu_nothing_is_copied() -> None:
    tensor = torch.ones(3)
    assert sent(tensor, torch.device("cpu")) is tensor


def test_to_a_gpu_from_pinned_memory_without_waiting() -> None:
    calls: list[tuple[Any, ...]] = []

    class Recorder:
        def pin_memory(self) -> "Recorder":
            calls.append(("pin_memory",))
            return Recorder()

        def to(self, *args: object, **options: object) -> str:
            calls.append(("to", *args, options))
            return "there"

    assert sent(Recorder(), CUDA) == "there"  # type: ignore[arg-type, comparison-overlap]
    assert calls == [("pin_memory",), ("to", CUDA, {"non_blocking": True})]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_results_are_float32(dtype: torch.dtype) -> None:
    found = fetched(torch.ones(2, 3, dtype=dtype))
    assert (found.dtype, found.shape) == (np.float32, (2, 3))


def test_results_of_the_cpu_are_not_copied() -> None:
    result = torch.ones(3)
    assert fetched(result).ctypes.data == result.data_ptr()


def test_it_loads_without_torch() -> None:
    code = "import sys, llm_compression.inference.device; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
