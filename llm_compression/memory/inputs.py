"""Inputs to store or to search for: as lists, and what they are called."""

import os
from collections.abc import Sequence
from typing import Any

from llm_compression.errors import InputError


def as_list(kind: str, inputs: Any) -> tuple[list[Any], bool]:
    """Inputs of a kind, ``text``, ``image`` or ``audio``, and whether they were a single one.

    Raises:
        InputError: neither one nor a sequence of them.
    """
    if kind == "image":
        from llm_compression.multimodal.vision.input import as_images

        return as_images(inputs)
    if kind == "audio":
        from llm_compression.multimodal.audio.input import as_sounds

        return as_sounds(inputs)
    from llm_compression.multimodal.inputs import as_texts

    return as_texts(inputs), isinstance(inputs, str)


def listed(kind: str, inputs: Any) -> list[Any]:
    """A sequence of inputs as a list.

    Raises:
        InputError: it is a single one, or no sequence.
    """
    if isinstance(inputs, (set, frozenset)):
        raise InputError(f"a {type(inputs).__name__} has no order; give a list of {kind} inputs")
    found, single = as_list(kind, inputs)
    if single:
        raise InputError(f"that is a single {kind}; give a list of them")
    return found


def sources_of(inputs: Sequence[Any], sources: Sequence[str] | None) -> Sequence[str]:
    """What inputs are called: as given, or their paths.

    Raises:
        InputError: one is no path, and nothing is given.
    """
    if sources is not None:
        return sources
    for row, one in enumerate(inputs):
        if not isinstance(one, (str, os.PathLike)):
            raise InputError(f"input {row} is {type(one).__name__}, no path; name it by sources=")
    return [str(one) for one in inputs]


def seconds_of(sounds: Sequence[Any]) -> list[float | None]:
    """How long each sound is; None where it does not say, or is an open file, which reads once."""
    return [None if hasattr(sound, "read") else _seconds(sound) for sound in sounds]


def _seconds(sound: Any) -> float | None:
    from llm_compression.multimodal.audio.input import open_sound

    try:
        seconds = open_sound(sound, "a sound", None).seconds
    except InputError:  # whoever embeds it says what is wrong
        return None
    return seconds if seconds < _LONGEST else None


_LONGEST = 1e9  # seconds; files that do not know their length claim more
