"""Stored dtypes: what a checkpoint's tensor becomes, and its bytes."""

import warnings

import numpy as np
import torch

from llm_compression.conversion.source import dtype_name
from llm_compression.errors import CheckpointError, ConversionError
from llm_compression.spec.names import FLOAT_DTYPES
from llm_compression.weights.schema import STORAGE

_CHECK_ELEMENTS = 1 << 22


class NonFiniteWeightWarning(UserWarning):
    """A tensor of the checkpoint holds NaN or infinite values; they are kept as they are."""


def stored_dtype(source_dtype: str, name: str, dtype: str | None) -> str:
    """What a tensor of ``source_dtype`` is stored as when ``dtype`` is asked for.

    Raises:
        CheckpointError: the format does not store ``source_dtype``.
    """
    if source_dtype not in STORAGE:
        raise CheckpointError(
            f"tensor {name} has dtype {source_dtype}, which the format does not store "
            f"(it stores {', '.join(STORAGE)})"
        )
    return dtype if dtype and source_dtype in FLOAT_DTYPES else source_dtype


def cast(name: str, tensor: torch.Tensor, dtype: str | None) -> torch.Tensor:
    """The tensor as it is stored; only floating dtypes change.

    Raises:
        ConversionError: a finite value would become infinite.
    """
    stored = stored_dtype(dtype_name(tensor.dtype), name, dtype)
    changed = tensor.to(getattr(torch, stored))
    if changed.dtype != tensor.dtype and torch.any(torch.isinf(changed) & ~torch.isinf(tensor)):
        instead = "use --dtype bfloat16" if stored == "float16" else "leave --dtype out"
        largest = torch.finfo(changed.dtype).max
        raise ConversionError(f"tensor {name} has values beyond {stored}'s {largest:g}; {instead}")
    return changed


def warn_non_finite(name: str, tensor: torch.Tensor) -> None:
    """Warn of NaN and infinite values; they are the checkpoint's and stay."""
    if not tensor.is_floating_point():
        return
    parts = torch.split(tensor.reshape(-1), _CHECK_ELEMENTS)
    # a finite sum proves finite values, at a sixth of the time of looking at each
    odd = [part for part in parts if not torch.isfinite(part.sum(dtype=torch.float32))]
    bad = sum(int(torch.count_nonzero(~torch.isfinite(part))) for part in odd)
    if bad:
        warnings.warn(
            f"tensor {name} holds {bad} NaN or infinite values; they are kept",
            NonFiniteWeightWarning,
            stacklevel=3,
        )


def raw_bytes(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's values as uint8, row-major, without a copy."""
    return tensor.reshape(-1).view(torch.uint8).numpy()
