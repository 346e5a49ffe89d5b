"""Checks of what a caller passes to an engine."""

from collections.abc import Iterable

from llm_compression.errors import InputError


def as_texts(inputs: object) -> list[str]:
    """One string or many as a list; the tokenizer checks each.

    Raises:
        InputError: neither a string nor a sequence.
    """
    if isinstance(inputs, str):
        return [inputs]
    if isinstance(inputs, (bytes, dict)) or not isinstance(inputs, Iterable):
        raise InputError(
            f"inputs is {type(inputs).__name__}; pass a string or a sequence of strings"
        )
    return list(inputs)


def check_length(max_seq_length: int | None, positions: int) -> None:
    """Refuse a maximum length that the model has no positions for.

    Raises:
        InputError: it is below 1 or above ``positions``.
    """
    if max_seq_length is not None and not 1 <= max_seq_length <= positions:
        raise InputError(
            f"max_seq_length {max_seq_length} is outside 1..{positions}, "
            "the positions that the model has"
        )


def check_width(truncate_dim: int | None, full: int) -> int:
    """The width to give out, ``full`` unless told otherwise.

    Raises:
        InputError: ``truncate_dim`` is below 1 or above ``full``.
    """
    if truncate_dim is None:
        return full
    if not 1 <= truncate_dim <= full:
        raise InputError(f"truncate_dim {truncate_dim} is outside 1..{full}")
    return truncate_dim
