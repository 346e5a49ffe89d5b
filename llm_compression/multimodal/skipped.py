"""What ``on_error="skip"`` makes of inputs that cannot be read."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llm_compression.errors import InputError

OnError = Literal["raise", "skip"]


class SkippedInputWarning(UserWarning):
    """Inputs could not be read and were left out, as ``on_error="skip"`` asks."""


@dataclass(frozen=True)
class EncodedInputs:
    """What ``on_error="skip"`` gives.

    ``embeddings`` (n, E) of the readable inputs, ``indices`` (n,) of those among all, and for
    each other input its index and why it was skipped.
    """

    embeddings: np.ndarray
    indices: np.ndarray
    skipped: dict[int, str]


def check_on_error(on_error: str) -> None:
    """Refuse a word that means nothing.

    Raises:
        InputError: it is neither ``raise`` nor ``skip``.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error {on_error!r} is not one of raise, skip")


def warn_of_skipped(skipped: Mapping[int, str], inputs: int, kind: str) -> None:
    """Warn, if any were skipped, of how many and why the first; for an `encode` to call."""
    if skipped:
        warnings.warn(
            f"{len(skipped)} of {inputs} {kind} were skipped, the first because: "
            f"{skipped[min(skipped)]}",
            SkippedInputWarning,
            stacklevel=3,
        )
