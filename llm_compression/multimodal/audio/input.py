"""Sounds as users have them: one or many, in files or arrays, as mono blocks of samples."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm_compression.errors import InputError
from llm_compression.multimodal.audio.file import open_sound_file

LOWEST_RATE, HIGHEST_RATE = 100, 4_000_000  # samples per second; nobody records sound beyond
_BLOCK = 1 << 19  # samples read at once
_MOST_CHANNELS = 8  # of an array: more rows are many sounds
_LOUDEST = 100.0  # float samples lie in -1..1, give or take what clips
_PATHS = (str, os.PathLike)
_WHOLE = (np.int16, np.int32, np.uint8)
_BYTES = (bytes, bytearray, memoryview)


@dataclass(frozen=True)
class Sound:
    """An open sound: ``blocks`` of mono float32 samples, ``rate`` of them a second."""

    rate: int
    seconds: float  # as far as a file says it
    blocks: Iterator[np.ndarray]


def as_sounds(inputs: object) -> tuple[list[object], bool]:
    """Inputs as a list, and whether they were a single sound.

    A path, bytes, an open file, an array of one or two axes and a mapping are one sound; a
    sequence of them are many.

    Raises:
        InputError: neither a sound nor a sequence.
    """
    if isinstance(inputs, (*_PATHS, *_BYTES, Mapping)) or hasattr(inputs, "read"):
        return [inputs], True
    if hasattr(inputs, "__array__"):
        of_objects = getattr(getattr(inputs, "dtype", None), "kind", "") in ("U", "O")
        return (list(inputs), False) if of_objects else ([inputs], True)  # type: ignore[call-overload]
    if isinstance(inputs, Sequence) and not (inputs and isinstance(inputs[0], (int, float))):
        return list(inputs), False
    raise InputError(
        f"audio is {_kind(inputs)}; pass paths, bytes or arrays, one or a sequence of them"
    )


def name_of(source: object, index: int) -> str:
    """What errors call an input."""
    return str(source) if isinstance(source, _PATHS) else f"sound {index}"


def open_sound(source: object, name: str, sampling_rate: int | None) -> Sound:
    """One sound, its channels averaged, read block by block in bounded memory.

    A source is a path, bytes or an open file, in a format that libsndfile reads; an array (n,), or
    with a few channels on either axis, of ``sampling_rate`` samples a second, as floats in -1..1,
    int16, int32 or uint8; or a mapping with ``array`` and ``sampling_rate``, as datasets has them.

    Raises:
        InputError: it is no sound; or, from the blocks, it is damaged or holds NaN. The message
            names it.
    """
    if isinstance(source, Mapping):
        if not {"array", "sampling_rate"} <= set(source):
            keys = sorted(map(str, source))
            raise InputError(f"{name} has the keys {keys}; 'array' and 'sampling_rate' are needed")
        return _of_array(source["array"], name, source["sampling_rate"])
    if isinstance(source, (*_PATHS, *_BYTES)) or hasattr(source, "read"):
        rate, seconds, parts = open_sound_file(source, name, _BLOCK)
        _check_rate(rate, f"{name} says that its sampling rate is {rate}")
        return Sound(rate, seconds, (_mono(part, name) for part in parts))
    return _of_array(source, name, sampling_rate)


def _kind(value: object) -> str:
    return "a sequence of numbers" if isinstance(value, Sequence) else type(value).__name__


def _check_rate(rate: int, said: str) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InputError(f"{said}; it must be in {LOWEST_RATE}..{HIGHEST_RATE} a second")


def _of_array(source: Any, name: str, sampling_rate: object) -> Sound:
    if not hasattr(source, "__array__"):
        raise InputError(f"{name} is {_kind(source)}; pass a path, bytes or an array")
    whole = isinstance(sampling_rate, (int, np.integer)) and not isinstance(sampling_rate, bool)
    said = f"{name} is an array with sampling_rate {sampling_rate!r}"
    if not whole:
        raise InputError(
            f"{said}; pass its samples per second, a whole number, or "
            "{'array': ..., 'sampling_rate': ...}"
        )
    rate = int(sampling_rate)  # type: ignore[call-overload]
    _check_rate(rate, said)
    channels = _channels(_numbers(source, name), name)  # (n, C)
    if channels.dtype.kind != "f" and channels.dtype.newbyteorder("=") not in _WHOLE:
        raise InputError(
            f"{name} holds {channels.dtype} samples; pass floats in -1..1, int16, int32 or uint8"
        )
    step = min(_BLOCK, 60 * rate)  # low rates grow when they are resampled
    parts = (_mono(channels[i : i + step], name) for i in range(0, len(channels), step))
    return Sound(rate, len(channels) / rate, parts)


def _numbers(source: Any, name: str) -> np.ndarray:
    try:
        if hasattr(source, "detach"):  # numpy does not know torch's bfloat16
            source = source.detach().cpu().resolve_conj()
            source = source.float() if source.is_floating_point() else source
        return np.asarray(source)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{name} gives no array of samples: {error}") from error


def _channels(array: np.ndarray, name: str) -> np.ndarray:
    """(n,), (n, C) or (C, n) -> (n, C): channels are few, samples are many."""
    if array.ndim == 1:
        return array[:, None]
    if array.ndim == 2 and array.size < 2:
        return array.reshape(-1, 1)
    if array.ndim == 2 and array.shape[0] != array.shape[1] and min(array.shape) <= _MOST_CHANNELS:
        return array if array.shape[1] < array.shape[0] else array.T
    raise InputError(
        f"{name} has shape {array.shape}; a sound is (n,), or 2-D with up to {_MOST_CHANNELS} "
        "channels on one axis; pass several sounds as a list"
    )


def _mono(samples: np.ndarray, name: str) -> np.ndarray:
    """(n, C) -> (n,) float32, the mean; whole numbers as floats in -1..1."""
    if samples.dtype.kind == "f":
        _check(samples, name)
        if samples.shape[1] == 1:
            return np.ascontiguousarray(samples[:, 0], np.float32)
    mean = samples.astype(np.float64).mean(axis=1)
    if samples.dtype == np.uint8:
        mean = (mean - 128) / 128
    elif samples.dtype.kind == "i":
        mean = mean / -float(np.iinfo(samples.dtype).min)
    mono: np.ndarray = mean.astype(np.float32)
    return mono


def _check(samples: np.ndarray, name: str) -> None:
    """Refuse what no sound holds; each channel, as a mean may hide it.

    Raises:
        InputError: says what was found.
    """
    with np.errstate(invalid="ignore"):
        loudest = max(float(samples.max(initial=0)), -float(samples.min(initial=0)))
    if not np.isfinite(loudest):
        raise InputError(f"{name} holds NaN or infinite samples; repair or leave it out")
    if loudest > _LOUDEST:
        raise InputError(
            f"{name} holds samples up to {loudest:g}; floating-point samples lie in -1..1"
        )
