"""The operators of torch that are not its public interface, each tried before it is used.

Float32 products of torch go to MKL, which holds back on many processors; oneDNN with a weight
packed for it reaches the machine's limit. What is missing or wrong here is done by plain torch.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F

from llm_compression.guard import Guard
from llm_compression.spec.block import Activation

EXACT: Any = {"dtype": torch.float32, "device": "cpu"}  # whatever a caller's defaults are
_ROWS = 1024  # for which a weight is laid out; oneDNN runs any number on it
_NAMES = {  # name and algorithm of the operator's activation
    None: ("none", ""),
    Activation.GELU: ("gelu", "none"),
    Activation.GELU_TANH: ("gelu", "tanh"),
    Activation.RELU: ("relu", ""),
    Activation.SILU: ("swish", ""),
}
FUSED = frozenset(_NAMES)  # activations that a packed linear map can end with


def pack_weight(weight: torch.Tensor) -> torch.Tensor:
    """(out, in) in oneDNN's own order of blocks."""
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight.default(weight, _ROWS)
    return packed


def packed_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    activation: Activation | None = None,
) -> torch.Tensor:
    """(N, in) -> (N, out) by a packed weight, ending in an activation of `FUSED`."""
    name, algorithm = _NAMES[activation]
    run = torch.ops.mkldnn._linear_pointwise.default
    y: torch.Tensor = run(x, weight, bias, name, [], algorithm)
    return y


def packed_linear_sum(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """(N, in) -> (N, out) by a packed weight, plus ``residual`` (N, out)."""
    y: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, weight, bias, "add")
    return y


@functools.cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether torch has packed linear maps of ``dtype`` on this processor, and right ones."""
    try:
        if dtype is torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        with torch.inference_mode():
            return _right(dtype)
    except (AttributeError, RuntimeError):  # an operator is absent, or refuses what it is given
        return False


def _right(dtype: torch.dtype) -> bool:
    """Each operator on small numbers beside plain torch."""
    x, weight, bias, residual = (
        (torch.arange(rows * 16.0, **EXACT).view(rows, 16) % 7 / 4 - 1).to(dtype)
        for rows in (4, 16, 1, 4)
    )
    packed, bound = pack_weight(weight), 1e-5 if dtype is torch.float32 else 0.05
    plain = F.linear(x, weight, bias[0])
    pairs = [
        (packed_linear(x, packed, bias[0]), plain),
        (packed_linear(x, packed, bias[0], Activation.GELU), F.gelu(plain)),
        (packed_linear(x, packed, bias[0], Activation.SILU), F.silu(plain)),
        (packed_linear_sum(x, residual, packed, bias[0]), plain + residual),
    ]
    return all(torch.allclose(y, wanted, atol=bound, rtol=bound) for y, wanted in pairs)


def int8_linear(codes: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """(N, in) unsigned codes -> float32 (N, out), by a weight of `pack_int8` times ``scales``.

    The products are summed in int32, so that no sum depends on what else is in the batch.
    """
    whole = torch.zeros(len(scales), dtype=torch.int32, device="cpu")
    run = torch.ops.onednn.qlinear_pointwise.default
    # fmt: off
    y: torch.Tensor = run(codes, 1.0, 0, weight, scales, whole, None, 1.0, 0,
                          torch.float32, "none", [], "")
    # fmt: on
    return y


def pack_int8(weight: torch.Tensor) -> torch.Tensor:
    """(out, in) int8 in oneDNN's own order of blocks."""
    packed: torch.Tensor = torch.ops.onednn.qlinear_prepack.default(weight, None)
    return packed


@functools.cache
def can_int8() -> bool:
    """Whether torch has int8 linear maps on this processor, and right ones."""
    try:
        with torch.inference_mode():
            numbers = torch.arange(256, device="cpu")
            codes = (numbers[:64].view(4, 16) * 37 % 256).to(torch.uint8)
            weight = ((numbers.view(16, 16) * 53 % 255) - 127).to(torch.int8)
            y = int8_linear(codes, pack_int8(weight), torch.full((16,), 0.5, **EXACT))
            return bool(torch.equal(y, F.linear(codes.float(), weight.float()) * 0.5))
    except (AttributeError, RuntimeError):
        return False


@contextmanager
def fast_products() -> Iterator[None]:
    """Inside, torch's float32 products, those of its attention too, go to oneDNN where they can.

    The switch is one of the whole process and by its name allows bfloat16; `_products_are_exact`
    has seen that this processor computes in float32 all the same.
    """
    if not _products_are_exact():
        yield
        return
    _switch.take()
    try:
        yield
    finally:
        _switch.give()


class _Switch:
    """torch's ``fp32_precision`` of oneDNN's products, back where it was when nobody needs it."""

    def __init__(self) -> None:
        self._guard = Guard()
        self._users = 0
        self._before = ""

    def take(self) -> None:
        with self._guard.lock:
            if not self._users:
                self._before = _products().fp32_precision
                _products().fp32_precision = "bf16"
            self._users += 1

    def give(self) -> None:
        with self._guard.lock:
            self._users -= 1
            if not self._users:
                _products().fp32_precision = self._before


_switch = _Switch()


def _products() -> Any:
    return torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


@functools.cache
def _products_are_exact() -> bool:
    """Whether the switch exists and leaves products as exact as float32 is.

    Only matrix units of bfloat16 (AMX) take it at its word; without them oneDNN has float32 alone.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    a, b = (torch.rand(256, 256, generator=generator, **EXACT) for _ in range(2))
    try:
        if torch.cpu._is_amx_tile_supported():
            return False
        _switch.take()
    except (AttributeError, RuntimeError):
        return False
    try:
        product = torch.mm(a, b)
    finally:
        _switch.give()
    return torch.allclose(product.double(), torch.mm(a.double(), b.double()), rtol=1e-6)
