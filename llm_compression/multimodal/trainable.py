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

    It computes on the CPU, wherever its encoder does. Its ``state_dict`` is what to save.

    Args:
        tensors: those of the tower under canonical names.
        bind: what runs inputs on tensors.
        train: patterns of names (``text.block.05.*``). What they match is copied and becomes the
            module's parameters; the rest is frozen, and shared with the file where it is float32.

    Raises:
        InputError: a pattern matches no tensor, or is no string.
    """

    def __init__(
        self, tensors: Tensors, bind: Callable[[Tensors], Run], train: str | Sequence[str]
    ) -> None:
        super().__init__()
        self._names = _chosen(tensors, train)
        with torch.inference_mode(mode=False):
            for name in self._names:
                own = writable(tensors[name]).to(torch.float32, copy=True)
                self.register_parameter(_attribute(name), torch.nn.Parameter(own))

        def bound(weights: Tensors) -> Run:  # frozen ones stay here, where copies share them
            return bind({**tensors, **weights})

        self._bound = bound

    @property
    def weights(self) -> dict[str, torch.nn.Parameter]:
        """The module's own parameters by the names of their tensors."""
        return {name: self.get_parameter(_attribute(name)) for name in self._names}

    def forward(self, inputs: object) -> Encoded:
        """What the encoder takes -> its hidden states, pooled states and embeddings."""
        # bound anew, as copying a module or loading a state may have given it other parameters
        return self._bound(self.weights)(inputs)


def _attribute(name: str) -> str:
    return name.replace(".", "/")  # a dot is not allowed


def _chosen(tensors: Tensors, train: str | Sequence[str]) -> list[str]:
    patterns = [train] if isinstance(train, str) else train
    if not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns):
        raise InputError(f"train is {train!r}; pass patterns of weight names, or none at all")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in tensors):
            raise InputError(
                f"no weight is called {pattern!r}; names are like {next(iter(tensors))!r}, and "
                "* stands for any part of one"
            )
    return [name for name in tensors if any(fnmatchcase(name, p) for p in patterns)]
