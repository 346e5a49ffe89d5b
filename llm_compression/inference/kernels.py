"""The operators of torch that are not its public interface, each tried before it is used.

Float32 products of torch go to MKL, which holds back on many processors; oneDNN with a weight
packed for it reaches the machine's limit. What is missing or wrong here is done by plain torch.
"""

import functools
from typing import Any

import torch
from torch.nn import functional as F

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
