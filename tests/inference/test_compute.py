"""Compute: what is shared, what is copied, and no more threads than cores."""

import pytest
import torch

from llm_compression.inference import compute
from llm_compression.inference.compute import Compute, cast


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


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_on_a_device_weights_are_copies_and_their_source_is_let_go(name: str) -> None:
    released: list[int] = []
    compute = Compute(name, device=torch.device("meta"), release=lambda: released.append(1))
    tensors = {"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.float16)}
    made = compute.prepared(dict, tensors)
    assert {tensor.device for tensor in made.values()} == {torch.device("meta")}
    assert {tensor.dtype for tensor in made.values()} == {getattr(torch, name)}
    assert released == [1]


def test_copies_to_a_gpu_have_come_before_the_source_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sent as they are stored, waited for once, and made the type that is computed in there."""
    calls: list[object] = []
    gpu = torch.device("cuda", 1)

    def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        calls.append((tensor.dtype, device))
        return tensor

    monkeypatch.setattr(compute, "sent", sent)
    monkeypatch.setattr(torch.cuda, "synchronize", calls.append)
    on_gpu = Compute("float16", device=gpu, release=lambda: calls.append("let go"))
    made = on_gpu.prepared(dict, {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.float16)})
    assert calls == [(torch.float32, gpu), (torch.float16, gpu), gpu, "let go"]
    assert {tensor.dtype for tensor in made.values()} == {torch.float16}
