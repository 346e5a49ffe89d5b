"""Device: where a model runs, and how tensors get there and back."""

import re
from typing import TYPE_CHECKING

from llm_compression.errors import InputError
from llm_compression.spec.names import COMPUTE_DTYPES

if TYPE_CHECKING:  # who checks that a device is the cpu pays for no torch
    import numpy as np
    import torch

_NAMES = re.compile(r"cpu(?::0)?|cuda(?::(0|[1-9]\d*))?")


def device_of(given: object) -> "torch.device":
    """The device that is called ``cpu``, ``cuda`` or ``cuda:N``, as a string or a ``torch.device``.

    ``cuda`` is torch's current GPU. Nothing is started on one yet, so that a process may still
    fork.

    Raises:
        InputError: another name, or a GPU that torch does not see.
    """
    import torch

    named = _NAMES.fullmatch(str(given)) if isinstance(given, (str, torch.device)) else None
    if named is None:
        raise InputError(f"device is {given!r}; pass 'cpu', 'cuda' or 'cuda:N'")
    if named[0].startswith("cpu"):  # a tensor's device may be cpu:0, which is the same
        return torch.device("cpu")
    count = torch.cuda.device_count()
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    current = torch.cuda.current_device() if started else 0
    index = int(named[1] or current)
    if index >= count:
        raise InputError(f"device is {named[0]!r}, but {_what_is_there(count)}")
    return torch.device("cuda", index)


def _what_is_there(count: int) -> str:
    import torch

    if count:
        return f"the last GPU that torch sees is 'cuda:{count - 1}'; choose one up to it"
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        return (
            f"torch {torch.__version__} is built for the CPU alone; install one with CUDA (see "
            "https://pytorch.org/get-started), or leave it at 'cpu'"
        )
    return "torch sees no GPU; look at nvidia-smi and CUDA_VISIBLE_DEVICES, or leave it at 'cpu'"


def check_compute_dtype(name: str, device: str) -> None:
    """See that models compute in this type on a device, ``cpu`` or one whose name begins so.

    Raises:
        InputError: no such ``compute_dtype``, or not there.
    """
    if name not in COMPUTE_DTYPES:
        raise InputError(f"compute_dtype {name!r} is not one of {', '.join(COMPUTE_DTYPES)}")
    on_cpu = device.startswith("cpu")
    if name == "float16" and on_cpu:
        raise InputError("compute_dtype 'float16' is for GPUs; on the CPU use 'bfloat16'")
    if name == "int8" and not on_cpu:
        raise InputError("compute_dtype 'int8' is for the CPU; on a GPU use 'float16'")


def sent(tensor: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """A tensor of the host on ``device``; where that is the host, the tensor itself.

    It goes to a GPU from pinned memory, which the host need not wait for.
    """
    if device.type == "cpu":
        return tensor
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)


def fetched(result: "torch.Tensor") -> "np.ndarray":
    """What a model gives, as float32 on the host: one copy, which waits until it is there.

    A float32 tensor of the host shares its memory with the array.
    """
    return result.float().cpu().numpy()
