"""NativeNorm: a `LayerNorm` by the compiled library."""

from dataclasses import dataclass

import torch

from llm_compression.inference.norm import LayerNorm
from llm_compression.native import library
from llm_compression.native.library import Library


@dataclass(frozen=True, slots=True)
class NativeNorm(LayerNorm):
    """Of rows in the caller's thread.

    torch shares two rows among all its threads, and where these sleep it takes milliseconds until
    they are awake.
    """

    functions: Library

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(..., D) -> (..., D)."""
        rows = x.float().contiguous()
        normed = torch.empty_like(rows)
        norm = library.Norm(self.weight.data_ptr(), self.bias.data_ptr(), self.eps)
        self.functions.norm(norm, rows, normed)
        return normed.to(x.dtype)


def native_norm(norm: LayerNorm, functions: Library) -> NativeNorm:
    """``norm`` with copies of its weights."""
    weight, bias = (
        tensor.to(torch.float32, copy=True).contiguous() for tensor in (norm.weight, norm.bias)
    )
    return NativeNorm(weight, bias, norm.eps, functions)
