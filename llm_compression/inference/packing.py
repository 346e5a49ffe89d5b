"""Packing: the same modules with their weights in the order in which the processor reads them."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from llm_compression.inference import kernels, trial
from llm_compression.inference.attention import Attention, SeparateQKV
from llm_compression.inference.block import Block
from llm_compression.inference.inference_core import Core, InferenceCore
from llm_compression.inference.lazy_core import LazyCore
from llm_compression.inference.linear import Linear, LinearMap, plain
from llm_compression.inference.mlp import MLP
from llm_compression.inference.native_core import fits, pack
from llm_compression.inference.native_norm import native_norm
from llm_compression.inference.norm import LayerNorm
from llm_compression.native.library import Kind, Library
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


@dataclass(frozen=True, slots=True)
class Packer:
    """Makes of modules the same ones over packed weights.

    ``of_blocks`` packs the linear maps of blocks, ``of_towers`` those around them.
    ``release`` is called behind each block, whose own weights nobody reads any more; ``rounded``
    tells attention that the maps round to 8 bits. ``native`` is what the compiled core computes
    in, where it can be used; its linear maps are then none of ``of_blocks``.
    """

    of_blocks: Callable[[Linear], LinearMap]
    of_towers: Callable[[Linear], LinearMap]
    release: Callable[[], None]
    rounded: bool = False
    native: Kind | None = None

    def __call__(self, module: M) -> M:
        """``module``, a dataclass of modules, with every linear map in it packed.

        The three of an attention become one, which also scales the queries. Norms and biases are
        copied too, so that of mapped weights embedding tables alone stay in use.
        """
        packed: Any = module
        if isinstance(module, InferenceCore):
            packed = self._core(module)
        elif isinstance(module, Linear):
            packed = self.of_towers(module)
        elif isinstance(module, LayerNorm):
            library = self._library()
            packed = native_norm(module, library) if library else _copied(module)
        elif isinstance(module, tuple):
            packed = tuple(self(part) for part in module)
        elif dataclasses.is_dataclass(module) and not isinstance(module, type):
            fields = {f.name: getattr(module, f.name) for f in dataclasses.fields(module)}
            packed = type(module)(**{name: self(value) for name, value in fields.items()})
        return packed  # type: ignore[no-any-return]

    def _library(self) -> Library | None:
        return trial.usable(self.native) if self.native is not None else None

    def _core(self, core: InferenceCore) -> Core:
        library = self._library()
        if library and self.native is not None and fits(core, self.native):
            if self.native is Kind.FLOAT32:
                return LazyCore(core, library, self.release)
            return pack(core, self.native, library, self.release)
        return InferenceCore(tuple(self._block(block) for block in core.blocks))

    def _block(self, block: Block) -> Block:
        up, down = _without_quick_gelu(plain(block.mlp.up), plain(block.mlp.down))
        packed = replace(
            block,
            attn=self._attention(block.attn),
            attn_norm=_copied(block.attn_norm),
            mlp=MLP(self.of_blocks(up), self.of_blocks(down)),
            mlp_norm=_copied(block.mlp_norm),
        )
        self.release()
        return packed

    def _attention(self, attention: Attention) -> Attention:
        if not isinstance(attention.qkv, SeparateQKV):
            raise TypeError("the attention is packed already")
        qkv = self.of_blocks(_fused(attention.qkv, attention.scale))
        o = self.of_blocks(plain(attention.o))
        return replace(attention, qkv=qkv, o=o, scale=1.0, rounded=self.rounded)


def pack_linear(linear: Linear) -> PackedLinear:
    """``linear`` for oneDNN."""
    bias = None if linear.bias is None else linear.bias.clone()
    return PackedLinear(kernels.pack_weight(linear.weight), bias, linear.activation)


def _copied(norm: LayerNorm) -> LayerNorm:
    return LayerNorm(norm.weight.clone(), norm.bias.clone(), norm.eps)


def _fused(qkv: SeparateQKV, scale: float) -> Linear:
    """One linear map of the three, queries times ``scale``; zeros where one has no bias."""
    q = plain(qkv.q)
    scaled = Linear(q.weight * scale, None if q.bias is None else q.bias * scale)
    maps = [scaled, plain(qkv.k), plain(qkv.v)]
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
