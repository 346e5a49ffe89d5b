"""Weights refuse every common way of writing before it happens, and behave as tensors otherwise."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.mapping import mapped_path
from tests.weights.weight_tables import Content, tensor_bytes

NAME = "float32.bias"  # 300 finite values

WRITES: dict[str, Callable[[torch.Tensor], Any]] = {
    "zero_": lambda t: t.zero_(),
    "copy_": lambda t: t.copy_(torch.zeros(300)),
    "index_put_": lambda t: t.index_put_((torch.tensor([0]),), torch.tensor([5.0])),
    "torch.relu_": torch.relu_,
    "torch.add out": lambda t: torch.add(t, 1, out=t),
    "torch.sort out": lambda t: torch.sort(t, out=(t, torch.empty(300, dtype=torch.int64))),
    "F.relu inplace": lambda t: F.relu(t, inplace=True),
    "F.dropout inplace by position": lambda t: F.dropout(t, 0.5, True, True),
    "foreach": lambda t: torch._foreach_zero_([t]),
    "aten": torch.ops.aten.zero_,
    "aten out": lambda t: torch.ops.aten.add.out(t, t, out=t),
    "init": torch.nn.init.zeros_,
    "+=": lambda t: t.__iadd__(1),
    "**=": lambda t: t.__ipow__(2),
    "[...]=": lambda t: t.__setitem__(..., 0),
    "[3:5] of a slice": lambda t: t[3:5].__setitem__(0, 1),
    "data": lambda t: t.data.zero_(),
    "data=": lambda t: setattr(t, "data", torch.zeros(300)),
    "detach": lambda t: t.detach().zero_(),
    "view": lambda t: t.view(30, 10).t().zero_(),
    "view of another dtype": lambda t: t.view(torch.int32).zero_(),
    "to the same dtype": lambda t: t.float().zero_(),
    "to the same device": lambda t: t.to("cpu").contiguous().zero_(),
    "unbind": lambda t: t.unbind()[0].zero_(),
    "split": lambda t: t.split(7)[1].zero_(),
    "iteration": lambda t: next(iter(t)).zero_(),
    "asarray": lambda t: torch.asarray(t).zero_(),
    "copy.copy": lambda t: copy.copy(t).zero_(),
    "Parameter": lambda t: torch.nn.Parameter(t).data.zero_(),
    "numpy": lambda t: t.numpy().fill(0),
    "np.asarray": lambda t: np.asarray(t).fill(0),
    "numpy out": lambda t: np.add(1, 1, out=t.view(30, 10).numpy()),
    "np.copyto": lambda t: np.copyto(t.numpy(), 0),
}


@pytest.fixture(params=[False, True], ids=["decoded", "mapped"])
def loader(request: pytest.FixtureRequest, every_dtype_table: Path) -> WeightLoader:
    return WeightLoader(every_dtype_table, mapped=request.param)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_is_refused_before_it_happens(
    loader: WeightLoader, content: Content, write: Callable[[torch.Tensor], Any], mode: Any
):
    tensor = loader.get_tensor(NAME)
    with mode(), pytest.raises((RuntimeError, ValueError), match=r"read-only"):
        write(tensor)
    assert tensor_bytes(tensor) == content.tensors[NAME].raw.tobytes()


def test_every_tensor_is_guarded(loader: WeightLoader, content: Content):
    for name, tensor in loader.load_weights().items():
        with pytest.raises(RuntimeError, match=r"zero_ would write to a weight.*clone\(\)"):
            tensor.zero_()
        with pytest.raises(RuntimeError, match="read-only"):
            tensor.view(-1)[0] = 1
        assert tensor.shape == content.tensors[name].shape


def test_copies_and_results_may_be_written(loader: WeightLoader):
    tensor = loader.get_tensor(NAME)
    results = [tensor.clone(), copy.deepcopy(tensor), tensor + 1, tensor.double(), tensor[[1, 2]]]
    for result in results:
        assert type(result) is torch.Tensor
        result.zero_()
    assert torch.count_nonzero(tensor) > 290


def test_computes_as_any_tensor(loader: WeightLoader, content: Content):
    tensor = loader.get_tensor(NAME)
    values = content.tensors[NAME].raw.view(np.float32)
    assert np.array_equal((tensor * 2).numpy(), values * 2)
    ordinary, ones = torch.tensor(values).view(30, 10), torch.ones(4, 10)
    assert torch.equal(F.linear(ones, tensor.view(30, 10)), F.linear(ones, ordinary))


def test_no_write_reaches_the_mapped_file(every_dtype_table: Path, content: Content):
    """What goes around torch's operations writes to private memory of this process only."""
    loader = WeightLoader(every_dtype_table, mapped=True)
    path = mapped_path(loader.table)
    before = path.read_bytes()
    loader.get_tensor(NAME).untyped_storage().fill_(7)
    assert path.read_bytes() == before
    again = WeightLoader(every_dtype_table, mapped=True)
    again.verify()
    assert tensor_bytes(again.get_tensor(NAME)) == content.tensors[NAME].raw.tobytes()
