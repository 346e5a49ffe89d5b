"""Int8Linear: weights in int8 for each channel, activations in 8 bits for each token."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from llm_compression.inference import kernels
from llm_compression.inference.activation import ACTIVATIONS
from llm_compression.inference.linear import Linear
from llm_compression.spec.block import Activation

_STEPS, _MOST = 255, 127  # of an activation's range; of a weight's to either side of 0
_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, slots=True)
class Int8Linear:
    """A `Linear` whose factors are rounded to 8 bits (Jacob et al. 2017, arXiv:1712.05877, eq. 4).

    A row x of activations is lowest + step * code, so its product with a row w of weights is
    step * (code w) + lowest * sum(w). Steps for each token, not for the whole batch, keep a result
    what it is whatever stands beside it in the batch.
    """

    weight: torch.Tensor  # opaque where the processor has a kernel, else whole numbers in float32
    steps: torch.Tensor  # (out,) what 1 in each row of the weight stands for
    sums: torch.Tensor  # (out,) of the rounded weights of each row
    bias: torch.Tensor | None
    activation: Activation | None

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """(N, in) -> (N, out), float32."""
        # a range with 0 in it, so that neither end is more than 255 steps away from 0
        lowest = x.amin(-1, keepdim=True).clamp_(max=0)  # (N, 1)
        highest = x.amax(-1, keepdim=True).clamp_(min=0)
        step = (highest - lowest).div_(_STEPS).clamp_(min=_TINY)
        # (x - lowest) / step, which is never negative, is rounded by adding a half and cutting off;
        # by way of 16 bits as torch makes 8 of float32 one by one
        codes = torch.mul(x, 1 / step).add_(0.5 - lowest / step).to(torch.int16).to(torch.uint8)
        y = self._products(codes).mul_(step).addcmul_(lowest, self.sums)
        y = y if self.bias is None else y.add_(self.bias)
        y = y if self.activation is None else ACTIVATIONS[self.activation](y)
        return y if residual is None else y.add_(residual)

    def _products(self, codes: torch.Tensor) -> torch.Tensor:
        if kernels.can_int8():
            return kernels.int8_linear(codes, self.weight, self.steps)
        return F.linear(codes.float(), self.weight).mul_(self.steps)


def rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(out, in) -> whole numbers of that shape, their steps (out,), and sums (out,) of both."""
    steps = weight.abs().amax(-1, keepdim=True).div_(_MOST).clamp_(min=_TINY)  # (out, 1)
    codes = (weight / steps).round_()
    return codes, steps.flatten(), (codes * steps).sum(-1)


def to_int8(linear: Linear) -> Int8Linear:
    """``linear`` rounded."""
    codes, steps, sums = rounded(linear.weight)
    return Int8Linear(
        weight=kernels.pack_int8(codes.to(torch.int8)) if kernels.can_int8() else codes,
        steps=steps,
        sums=sums,
        bias=None if linear.bias is None else linear.bias.clone(),
        activation=linear.activation,
    )
