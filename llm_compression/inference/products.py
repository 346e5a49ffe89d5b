"""How exact torch's float32 products are, whatever the process lets them lose.

`torch.set_float32_matmul_precision` and the `fp32_precision` of torch's backends let products of
float32 be computed in bfloat16 or TF32, where the processor has units for these.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from llm_compression.guard import Guard
from llm_compression.inference.kernels import EXACT

_HIGHEST = "highest"  # of the older setting, torch.set_float32_matmul_precision


def as_asked(device: str) -> AbstractContextManager[None]:
    """Inside, operators on a device of this type compute in the type of what they are given.

    Neither a caller's autocast nor what the process lets float32 lose changes that.
    """
    switch = _exact.get(device)
    if switch is None:
        return nullcontext()
    return _without_autocast(device, switch) if torch.is_autocast_enabled(device) else switch


@contextmanager
def _without_autocast(device: str, switch: AbstractContextManager[None]) -> Iterator[None]:
    with torch.autocast(device, enabled=False), switch:
        yield


def fast_products() -> AbstractContextManager[None]:
    """Inside, float32 products on the CPU, those of attention too, go to oneDNN where they can.

    The switch allows bfloat16 by its name; `_bfloat16_is_exact` has seen that this processor
    computes in float32 all the same.
    """
    return _fast if _bfloat16_is_exact() else nullcontext()


class _Switch:
    """Holds the precision of one backend's products while anybody is inside, then puts it back.

    What a caller sets meanwhile stays, unless it is ``wanted`` itself and set for this backend.

    Args:
        backend: of torch.backends.
        wanted: where it is held.
        enough: whether it may stay where it stands instead.
    """

    def __init__(self, backend: str, wanted: str, enough: Callable[[str], bool]) -> None:
        self._backend, self._wanted, self._enough = backend, wanted, enough
        self._guard = Guard()
        self._inside = 0
        self._before: str | None = None  # None where nothing is changed
        self._of_all: str | None = None  # the older setting of all backends, as it was then

    def __enter__(self) -> None:
        with self._guard.lock:
            if self._before is None and not self._enough(_precision(self._backend)):
                self._before = _own_precision(self._backend)
                _set_precision(self._backend, self._wanted)
                self._of_all = _precision_of_all()
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._guard.lock:
            self._inside -= 1
            if not self._inside and self._before is not None:
                if self._is_as_set():
                    _set_precision(self._backend, self._before)
                self._before = None

    def _is_as_set(self) -> bool:
        if _of(self._backend) is None:  # there is but one setting, for all
            return _precision_of_all() == _HIGHEST
        return _precision(self._backend) == self._wanted and _precision_of_all() == self._of_all


def _loses_nothing(precision: str) -> bool:
    return precision in ("none", "ieee", _HIGHEST)


def _loses_nothing_here(precision: str) -> bool:
    return _loses_nothing(precision) or _bfloat16_is_exact()


_exact = {
    "cpu": _Switch("mkldnn", "ieee", _loses_nothing_here),
    "cuda": _Switch("cuda", "ieee", _loses_nothing),
}
_fast = _Switch("mkldnn", "bf16", lambda precision: precision == "bf16")


def _of(backend: str) -> Any:
    """A backend's products with their ``fp32_precision``; None on torch before 2.9."""
    products = getattr(getattr(torch.backends, backend), "matmul", None)
    return products if hasattr(products, "fp32_precision") else None


def _precision(backend: str) -> str:
    products = _of(backend)
    if products is None:
        return torch.get_float32_matmul_precision()
    found: str = products.fp32_precision
    return found


def _precision_of_all() -> str | None:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # it contradicts what is set for a backend
        return None


def _set_precision(backend: str, value: str) -> None:
    products = _of(backend)
    if products is None:
        torch.set_float32_matmul_precision(_HIGHEST if value == "ieee" else value)
        return
    products.fp32_precision = value


def _own_precision(backend: str) -> str:
    """What is set for the backend itself; "none" where what stands above all says the same."""
    before, products = _precision(backend), _of(backend)
    if products is None:
        return before
    products.fp32_precision = "none"
    return "none" if products.fp32_precision == before else before


@functools.cache
def _bfloat16_is_exact() -> bool:
    """Whether products may be let go to bfloat16 and stay as exact as float32 is.

    Only matrix units of bfloat16 (AMX) take the switch at its word; without them oneDNN has float32
    alone.
    """
    try:
        if _of("mkldnn") is None or torch.cpu._is_amx_tile_supported():
            return False
    except AttributeError:
        return False
    generator = torch.Generator("cpu").manual_seed(0)
    a, b = (torch.rand(256, 256, generator=generator, **EXACT) for _ in range(2))
    with _fast:
        product = torch.mm(a, b)
    return torch.allclose(product.double(), torch.mm(a.double(), b.double()), rtol=1e-6)
