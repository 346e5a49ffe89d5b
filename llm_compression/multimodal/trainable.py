"""Trainable: a tower that gradients flow through, to its inputs and to the weights one names."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import torch

from llm_compression.errors import InputError
from llm_compression.inference.bind import Tensors
from llm_compression.multimodal.encoded import Encoded
from llm_compression.weights.readonly import writable

Run = Callable[[object], Encoded]


class Trainable(torch.nn.Module):
    """Plain operators on float32 weights as they are stored, none of them packed or fused.

    It computes on the CPU, wherever its encoder does.

    Args:
        tensors: those of the tower under canonical names.
        bind: what runs inputs on tensors.
        train: patterns of names (``text.block.05.*``). What they match is copied and becomes the
            module's parameters; the rest is frozen, and shared with the file where it is float32.

    Raises:
        InputError: a pattern matches no tensor.
    """

    def __init__(
        self, tensors: Tensors, bind: Callable[[Tensors], Run], train: str | Sequence[str]
    ) -> None:
        super().__init__()
        self.weights = {
            name: torch.nn.Parameter(writable(tensors[name]).to(torch.float32, copy=True))
            for name in _chosen(tensors, [train] if isinstance(train, str) else train)
        }
        for name, parameter in self.weights.items():
            self.register_parameter(name.replace(".", "/"), parameter)  # a dot is not allowed
        self._run = bind({**tensors, **self.weights})

    def forward(self, inputs: object) -> Encoded:
        """What the encoder takes -> its hidden states, pooled states and embeddings."""
        return self._run(inputs)


def _chosen(tensors: Tensors, patterns: Sequence[str]) -> list[str]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in tensors):
            raise InputError(
                f"no weight is called {pattern!r}; names are like {next(iter(tensors))!r}, and "
                "* stands for any part of one"
            )
    return [name for name in tensors if any(fnmatchcase(name, p) for p in patterns)]
