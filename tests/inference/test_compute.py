"""Compute: the types that are known, and no more threads than cores."""

import pytest
import torch

from llm_compression.errors import InputError
from llm_compression.inference import compute
from llm_compression.inference.compute import Compute, cast


def test_unknown_compute_dtype_is_refused() -> None:
    with pytest.raises(InputError, match="one of float32, bfloat16, int8"):
        Compute("float16")


def test_what_has_the_type_is_shared() -> None:
    tensors = {"a": torch.ones(3), "b": torch.ones(3, dtype=torch.float16)}
    found = cast(tensors, torch.float32)
    assert found["a"].data_ptr() == tensors["a"].data_ptr()
    assert found["b"].dtype is torch.float32


@pytest.mark.parametrize(("threads", "wanted"), [(8, 2), (1, 1)])
def test_threads_are_no_more_than_cores(
    threads: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = [threads]
    monkeypatch.setattr(compute, "cores", lambda: 2)
    monkeypatch.setattr(compute.torch, "get_num_threads", lambda: told[-1])
    monkeypatch.setattr(compute.torch, "set_num_threads", told.append)
    Compute().prepared(dict, {"a": torch.ones(1)})
    assert told[-1] == wanted


def test_gradients_flow_to_the_tensors_themselves() -> None:
    weight = torch.ones(2, requires_grad=True)
    made = Compute(gradients=True).prepared(dict, {"a": weight})
    made["a"].sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1, 1]
