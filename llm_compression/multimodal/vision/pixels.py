"""Numbers as 8-bit pixels: arrays of every layout, and the ranges that each dtype holds."""

import math
from typing import Any

import numpy as np

from llm_compression.errors import InputError

_CHANNELS = (1, 3, 4)
_SIXTEEN_BITS = 257  # 65535 / 255


def array_pixels(source: Any, name: str) -> np.ndarray:
    """An array, of numpy or torch, as (H, W) or (H, W, C) uint8.

    Floating-point values lie in 0..1, integers in 0..255, uint16 in 0..65535.

    Raises:
        InputError: it is no picture; ``name`` is what the message calls it.
    """
    if hasattr(source, "detach"):  # numpy has no bfloat16
        source = source.detach().cpu()
        source = source.float() if source.is_floating_point() else source
    return eight_bit(_layout(np.asarray(source), name), name)


def _layout(array: np.ndarray, name: str) -> np.ndarray:
    """(H, W) or (H, W, C), channels last."""
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} is an array of {array.dtype}; pixels are numbers")
    if array.ndim == 3:
        array = _channels_last(array, name)
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in _CHANNELS):
        raise InputError(
            f"{name} has shape {array.shape}; an array is (H, W), (H, W, C) or (C, H, W) with "
            f"C of {_CHANNELS}"
        )
    if not array.size:
        raise InputError(f"{name} has shape {array.shape}; it has no pixels")
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array


def _channels_last(array: np.ndarray, name: str) -> np.ndarray:
    first, last = array.shape[0], array.shape[2]
    coloured = [axis for axis, size in ((0, first), (2, last)) if size in (3, 4)]
    if len(coloured) == 2:
        raise InputError(
            f"{name} has shape {array.shape}, whose channels may be first or last; pass a PIL "
            "image instead"
        )
    grey = first == 1 and last not in _CHANNELS
    return np.moveaxis(array, 0, 2) if coloured == [0] or grey else array


def eight_bit(array: np.ndarray, name: str, *, sixteen: bool = False) -> np.ndarray:
    """Pixels as uint8; ``sixteen`` says that integers of any dtype are 16 bits wide.

    Raises:
        InputError: NaN, or values out of range.
    """
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    low, high = float(array.min()), float(array.max())
    if math.isnan(low) or math.isnan(high):
        raise InputError(f"{name} holds NaN pixels; repair or leave it out")
    floating = np.issubdtype(array.dtype, np.floating)
    wide = not floating and (sixteen or (array.dtype.kind, array.dtype.itemsize) == ("u", 2))
    most = 1 if floating else 65535 if wide else 255
    if low < 0 or high > most:
        raise InputError(
            f"{name} holds {array.dtype} values from {low:g} to {high:g}; floating-point pixels "
            "lie in 0..1, integer ones in 0..255, 16-bit ones in 0..65535"
        )
    scale = 255 if floating else 1 / _SIXTEEN_BITS if wide else 1
    return np.ascontiguousarray(np.rint(array * scale), np.uint8)
