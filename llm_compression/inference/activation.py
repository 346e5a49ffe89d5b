"""The MLP's nonlinearities, each with the line of the reference that it matches."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from llm_compression.spec.block import Activation


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    # transformers/activations.py, NewGELUActivation
    return F.gelu(x, approximate="tanh")


def _quick_gelu(x: torch.Tensor) -> torch.Tensor:
    # transformers/activations.py, QuickGELUActivation: input * sigmoid(1.702 * input)
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    Activation.GELU: F.gelu,
    Activation.GELU_TANH: _gelu_tanh,
    Activation.QUICK_GELU: _quick_gelu,
    Activation.RELU: F.relu,
    Activation.SILU: F.silu,
}
