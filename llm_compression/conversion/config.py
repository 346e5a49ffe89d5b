"""Config: the values of a ``config.json``, checked, under the names that a family gives them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_compression.errors import CheckpointError, UnknownArchitectureError
from llm_compression.spec.block import Activation

_ACTIVATIONS = {
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "quick_gelu": Activation.QUICK_GELU,
    "relu": Activation.RELU,
    "silu": Activation.SILU,
    "swish": Activation.SILU,
}


@dataclass(frozen=True)
class Config:
    """One config or a part of one.

    ``where`` names it in errors. ``names`` says what a family calls a key, ``defaults`` what
    transformers takes where the config says nothing.
    """

    values: Mapping[str, Any]
    where: str
    names: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, object] = field(default_factory=dict)

    def value(self, key: str) -> Any:
        """The value of ``key``.

        Raises:
            CheckpointError: the config lacks it and there is no default.
        """
        name = self._name(key)
        value = self.values.get(name)
        if value is None and (name not in self.values or key.endswith("_token_id")):
            value = self.defaults.get(key)  # null means none given
        if value is None:
            raise CheckpointError(f"{self.where}: config.json has no {name!r}")
        return value

    def count(self, key: str) -> int:
        """A whole number, 0 or more.

        Raises:
            CheckpointError: it is another thing.
        """
        value = self.value(key)
        if type(value) is not int or value < 0:
            raise self._wrong(key, value, "a count")
        return value

    def number(self, key: str) -> float:
        """A finite number.

        Raises:
            CheckpointError: it is another thing.
        """
        value = self.value(key)
        if type(value) not in (int, float) or not math.isfinite(value):
            raise self._wrong(key, value, "a number")
        return float(value)

    def activation(self, key: str) -> Activation:
        """The MLP's nonlinearity.

        Raises:
            UnknownArchitectureError: it is not supported.
        """
        name = self.value(key)
        if isinstance(name, str) and name in _ACTIVATIONS:
            return _ACTIVATIONS[name]
        raise UnknownArchitectureError(
            f"{self.where}: {self._name(key)} {name!r} is not supported, "
            f"only {sorted(_ACTIVATIONS)}"
        )

    def part(self, key: str, defaults: Mapping[str, object]) -> "Config":
        """The config below ``key``, an object.

        Raises:
            CheckpointError: it is another thing.
        """
        value = self.value(key)
        if not isinstance(value, dict):
            raise self._wrong(key, value, "an object")
        return Config(value, f"{self.where}, {key}", defaults=defaults)

    def _name(self, key: str) -> str:
        return self.names.get(key, key)

    def _wrong(self, key: str, value: object, expected: str) -> CheckpointError:
        return CheckpointError(
            f"{self.where}: config.json says {self._name(key)} = {value!r}, expected {expected}"
        )
