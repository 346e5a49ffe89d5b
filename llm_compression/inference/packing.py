"""Packing: the same modules with their weights in the order in which the processor reads them."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from llm_compression.inference import kernels
from llm_compression.inference.attention import Attention, SeparateQKV
from llm_compression.inference.block import Block
from llm_compression.inference.linear import Linear, LinearMap
from llm_compression.inference.mlp import MLP
from llm_compression.inference.norm import LayerNorm
from llm_compression.spec.block import Activation

M = TypeVar("M")
# transformers/activations.py, QuickGELUActivation: x sigmoid(1.702 x), which is
# silu(1.702 x) / 1.702, so that one factor moves into the map before and one into that behind.
_QUICK = 1.702


@dataclass(frozen=True, slots=True)
class PackedLinear:
    """A `Linear` by oneDNN, its activation or its residual sum done while results are in cache."""

    weight: torch.Tensor  # opaque
    bias: torch.Tensor | None
    activation: Activation | None

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """(N, in) -> (N, out)."""
        if residual is None:
            return kernels.packed_linear(x, self.weight, self.bias, self.activation)
        return kernels.packed_linear_sum(x, residual, self.weight, self.bias)


def pack(module: M, release: Callable[[], None]) -> M:
    """``module``, a dataclass of modules, with every linear map in it packed.

    The three of an attention become one, which also scales the queries. Norms and biases are
    copied too, so that of mapped weights embedding tables alone stay in use. ``release`` is called
    behind each block, whose own weights nobody reads any more.
    """
    packed: Any = module
    if isinstance(module, Attention):
        packed = _pack_attention(module)
    elif isinstance(module, Linear):
        packed = _pack_linear(module)
    elif isinstance(module, MLP):
        up, down = _without_quick_gelu(_plain(module.up), _plain(module.down))
        packed = MLP(_pack_linear(up), _pack_linear(down))
    elif isinstance(module, tuple):
        packed = tuple(pack(part, release) for part in module)
    elif isinstance(module, LayerNorm):
        packed = LayerNorm(module.weight.clone(), module.bias.clone(), module.eps)
    elif dataclasses.is_dataclass(module) and not isinstance(module, type):
        fields = {f.name: getattr(module, f.name) for f in dataclasses.fields(module)}
        packed = type(module)(**{name: pack(value, release) for name, value in fields.items()})
    if isinstance(module, Block):
        release()
    return packed  # type: ignore[no-any-return]


def _plain(linear: LinearMap) -> Linear:
    if not isinstance(linear, Linear):
        raise TypeError(f"{type(linear).__name__} is packed already")
    return linear


def _pack_linear(linear: Linear) -> PackedLinear:
    bias = None if linear.bias is None else linear.bias.clone()
    return PackedLinear(kernels.pack_weight(linear.weight), bias, linear.activation)


def _pack_attention(attention: Attention) -> Attention:
    if not isinstance(attention.qkv, SeparateQKV):
        raise TypeError("the attention is packed already")
    qkv = _pack_linear(_fused(attention.qkv, attention.scale))
    return replace(attention, qkv=qkv, o=_pack_linear(_plain(attention.o)), scale=1.0)


def _fused(qkv: SeparateQKV, scale: float) -> Linear:
    """One linear map of the three, queries times ``scale``; zeros where one has no bias."""
    q = _plain(qkv.q)
    scaled = Linear(q.weight * scale, None if q.bias is None else q.bias * scale)
    maps = [scaled, _plain(qkv.k), _plain(qkv.v)]
    weights = [m.weight for m in maps]
    biases = [m.weight.new_zeros(len(m.weight)) if m.bias is None else m.bias for m in maps]
    return Linear(torch.cat(weights), torch.cat(biases))


def _without_quick_gelu(up: Linear, down: Linear) -> tuple[Linear, Linear]:
    if up.activation is not Activation.QUICK_GELU:
        return up, down
    bias = None if up.bias is None else up.bias * _QUICK
    return (
        Linear(up.weight * _QUICK, bias, Activation.SILU),
        Linear(down.weight / _QUICK, down.bias),
    )
