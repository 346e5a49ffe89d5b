"""Tensors to modules, strict both ways: nothing missing, nothing left over."""

from collections.abc import Mapping

import torch

from llm_compression.errors import BindError
from llm_compression.inference.attention import Attention, SeparateQKV
from llm_compression.inference.block import Block
from llm_compression.inference.inference_core import InferenceCore
from llm_compression.inference.linear import Linear
from llm_compression.inference.mlp import MLP
from llm_compression.inference.norm import LayerNorm
from llm_compression.spec.block import Activation, BlockSpec
from llm_compression.spec.tensors import BLOCK, Shape
from llm_compression.weights.readonly import writable

Tensors = Mapping[str, torch.Tensor]


def check_tensors(tensors: Tensors, expected: Mapping[str, Shape]) -> None:
    """Compare names and shapes with what a spec expects.

    Raises:
        BindError: lists every missing, unexpected and misshapen tensor.
    """
    found = {name: tuple(writable(tensor).shape) for name, tensor in tensors.items()}
    problems = [f"missing: {name}" for name in expected if name not in found]
    problems += [f"unexpected: {name}" for name in found if name not in expected]
    problems += [
        f"misshapen: {name} is {list(found[name])}, the spec asks for {list(shape)}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    if problems:
        raise BindError("the tensors do not fit the spec:\n  " + "\n  ".join(problems))


def bind_core(tensors: Tensors, tower: str, spec: BlockSpec, num_layers: int) -> InferenceCore:
    """The core of a tower over tensors that `check_tensors` has passed; shares their memory."""
    return InferenceCore(tuple(_block(tensors, tower, spec, i) for i in range(num_layers)))


def bind_norm(tensors: Tensors, name: str, eps: float) -> LayerNorm:
    """The norm whose tensors stand under ``name``."""
    return LayerNorm(tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)


def bind_linear(tensors: Tensors, name: str, activation: Activation | None = None) -> Linear:
    """The linear map whose tensors stand under ``name``."""
    return Linear(tensors[f"{name}.weight"], tensors.get(f"{name}.bias"), activation)


def _block(tensors: Tensors, tower: str, spec: BlockSpec, index: int) -> Block:
    prefix = BLOCK.format(tower=tower, i=index)
    q, k, v, o = (bind_linear(tensors, f"{prefix}.attn.{name}") for name in "qkvo")
    up = bind_linear(tensors, f"{prefix}.mlp.up", spec.activation)
    down = bind_linear(tensors, f"{prefix}.mlp.down")
    return Block(
        name=f"block.{index:02d}",
        attn=Attention(
            SeparateQKV(q, k, v), o, spec.num_heads, spec.causal, scale=spec.head_size**-0.5
        ),
        attn_norm=bind_norm(tensors, f"{prefix}.attn_norm", spec.norm_eps),
        mlp=MLP(up, down),
        mlp_norm=bind_norm(tensors, f"{prefix}.mlp_norm", spec.norm_eps),
        norm_placement=spec.norm_placement,
    )
