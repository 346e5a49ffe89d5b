"""Checks of what a caller passes to an engine."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from llm_compression.errors import InputError
from llm_compression.spec.model import ModelSpec
from llm_compression.spec.names import TOWERS

_OPENERS = {
    "text": ("texts", "an ArrowEngine, or give texts"),
    "vision": ("images", "a VisionEncoder, or give --images"),
    "audio": ("sounds", "an AudioEncoder, or give --audio"),
}
_NO_SEQUENCE = (bytes, bytearray, memoryview, Mapping, set, frozenset)  # yet iterable


def as_texts(inputs: object) -> list[str]:
    """One string or many, also of an Arrow array, as a list; the tokenizer checks each.

    Raises:
        InputError: neither a string nor a sequence.
    """
    if isinstance(inputs, str):
        return [inputs]
    scalar = isinstance(inputs, np.ndarray) and inputs.ndim == 0
    if scalar or not is_listed(inputs):
        raise InputError(
            f"inputs is {type(inputs).__name__}; pass a string or a sequence of strings"
        )
    values: list[str] = inputs.to_pylist() if hasattr(inputs, "to_pylist") else list(inputs)
    return values


def is_listed(values: object) -> TypeGuard[Iterable[Any]]:
    """Whether they come one after another, in an order that was given them."""
    return isinstance(values, Iterable) and not isinstance(values, _NO_SEQUENCE)


def no_tower(spec: ModelSpec, tower: str) -> InputError:
    """The error that the model lacks ``tower``: what it embeds, and what opens it."""
    takes, opener = _OPENERS[next(name for name in TOWERS if getattr(spec, name))]
    return InputError(
        f"the model has no {tower} tower, so it embeds {takes} only; open it as {opener}"
    )


def check_choice(value: object, name: str, choices: Sequence[str]) -> None:
    """See that an option has one of its values.

    Raises:
        InputError: it has another; the message calls it ``name``.
    """
    if value not in choices:
        raise InputError(f"{name} {value!r} is not one of {', '.join(choices)}")


def check_count(value: object, name: str, most: int | None = None) -> int:
    """A whole number of at least 1 and at most ``most``.

    Raises:
        InputError: it is another thing; the message calls it ``name``.
    """
    whole = int(value) if isinstance(value, (int, np.integer)) else 0
    if not isinstance(value, bool) and whole >= 1 and (most is None or whole <= most):
        return whole
    span = "at least 1" if most is None else f"in 1..{most}"
    raise InputError(f"{name} is {value!r}; it must be a whole number {span}")


def check_flags(**flags: object) -> None:
    """See that options which are on or off are nothing else: ``"no"`` would be on.

    Raises:
        InputError: one is; the message calls it by its name.
    """
    for name, value in flags.items():
        if not isinstance(value, (bool, np.bool_)):
            raise InputError(f"{name} is {value!r}; it must be True or False")
