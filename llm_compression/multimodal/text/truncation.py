"""What happens to a text that is longer than the model's maximum; never nothing."""

import sys
import warnings
from collections.abc import Sequence
from enum import Enum

from llm_compression.errors import InputError, TruncationError
from llm_compression.multimodal.text.tokenizer import Tokens


class TruncationWarning(UserWarning):
    """Texts were cut to the model's maximum length."""


# Python shows a warning once per line of code unless told otherwise; here each call is told of.
# Appended, so that filters of the user's own come first.
warnings.filterwarnings("always", category=TruncationWarning, append=True)


class Truncation(Enum):
    """Cut and warn, refuse, or cut without a word because the caller said so."""

    WARN = "warn"
    ERROR = "error"
    OK = "ok"

    @classmethod
    def of(cls, name: str) -> "Truncation":
        """The member called ``name``.

        Raises:
            InputError: no such member.
        """
        try:
            return cls(name)
        except ValueError:
            raise InputError(f"truncation {name!r} is not one of warn, error, ok") from None


def report_truncation(tokens: Sequence[Tokens], truncation: Truncation, max_length: int) -> None:
    """Warn of or refuse the texts that were cut.

    Raises:
        TruncationError: some were, and truncation is an error.
    """
    cut = [i for i, text in enumerate(tokens) if text.truncated]
    if not cut or truncation is Truncation.OK:
        return
    message = (
        f"{len(cut)} of {len(tokens)} texts are longer than max_seq_length {max_length} tokens; "
        f"the first is input {cut[0]} with {tokens[cut[0]].count}"
    )
    if truncation is Truncation.ERROR:
        raise TruncationError(f"{message}. Split them, or pass truncation='ok' to cut them")
    warnings.warn(
        f"{message}; what is beyond was cut. Split them, or pass truncation='ok'",
        TruncationWarning,
        stacklevel=_depth(),
    )


def _depth() -> int:
    """The stack level, for `report_truncation`, of the first caller outside this package."""
    package = __name__.partition(".")[0]
    frame, depth = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, depth = frame.f_back, depth + 1
    return depth
