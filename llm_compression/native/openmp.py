"""OpenMP: the library whose threads torch computes with."""

import ctypes
import functools
from pathlib import Path


@functools.cache
def openmp() -> ctypes.CDLL | None:
    """The OpenMP that torch brings along, if it is GNU's and there."""
    import torch

    try:
        (path,) = (Path(torch.__file__).parent / "lib").glob("libgomp*.so*")
        return ctypes.CDLL(str(path))
    except (OSError, ValueError):
        return None
