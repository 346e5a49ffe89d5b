"""compute_dtype: the type that the core computes in."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

from llm_compression.errors import InputError
from llm_compression.inference import kernels
from llm_compression.inference.bind import Tensors
from llm_compression.inference.packing import pack
from llm_compression.spec.names import COMPUTE_DTYPES
from llm_compression.weights.readonly import writable

M = TypeVar("M")


def compute_type(name: str) -> torch.dtype:
    """The torch dtype called ``name``.

    Raises:
        InputError: the core does not compute in it.
    """
    if name not in COMPUTE_DTYPES:
        raise InputError(f"compute_dtype {name!r} is not one of {', '.join(COMPUTE_DTYPES)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def cast(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors in ``dtype``; those that have it already are shared, not copied."""
    return {name: writable(tensor).to(dtype) for name, tensor in tensors.items()}


def prepared(
    bind: Callable[[Tensors], M], tensors: Tensors, dtype: torch.dtype, *, packed: bool
) -> M:
    """What ``bind`` makes of ``tensors`` in ``dtype``, for inference alone.

    ``packed`` weights, where this processor has kernels for them, are copies; otherwise those that
    have the type already are used in place.
    """
    with torch.inference_mode():
        module = bind(cast(tensors, dtype))
        return pack(module) if packed and kernels.can_pack(dtype) else module
