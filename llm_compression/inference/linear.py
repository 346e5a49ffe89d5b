"""Linear: an affine map of rows, with the activation and the residual sum that follow it."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional as F

from llm_compression.inference.activation import ACTIVATIONS
from llm_compression.spec.block import Activation


class LinearMap(Protocol):
    """What every linear map of a block does, whatever its weight has been packed into."""

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """(N, in) -> (N, out), ``residual`` (N, out) added where it is given."""
        ...


@dataclass(frozen=True, slots=True)
class Linear:
    """``activation(x @ weight.T + bias) + residual``; weight is (out, in), as it is stored.

    Plain torch: differentiable, on any device, and on the weights in place.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    activation: Activation | None = None

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """(..., in) -> (..., out)."""
        y = F.linear(x, self.weight, self.bias)
        y = y if self.activation is None else ACTIVATIONS[self.activation](y)
        return y if residual is None else y + residual


def plain(linear: LinearMap) -> Linear:
    """``linear``, which has not been packed.

    Raises:
        TypeError: it has.
    """
    if not isinstance(linear, Linear):
        raise TypeError(f"{type(linear).__name__} is packed already")
    return linear
