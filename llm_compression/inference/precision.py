"""compute_dtype: the type that the core computes in."""

from collections.abc import Mapping

import torch

from llm_compression.errors import InputError
from llm_compression.weights.readonly import writable

COMPUTE_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def compute_type(name: str) -> torch.dtype:
    """The torch dtype called ``name``.

    Raises:
        InputError: the core does not compute in it.
    """
    try:
        return COMPUTE_DTYPES[name]
    except KeyError:
        raise InputError(
            f"compute_dtype {name!r} is not one of {', '.join(COMPUTE_DTYPES)}"
        ) from None


def cast(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors in ``dtype``; those that have it already are shared, not copied."""
    return {name: writable(tensor).to(dtype) for name, tensor in tensors.items()}
