"""Content: the digest of what an embedding is made of, so that equal inputs are known again."""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from llm_compression.errors import InputError
from llm_compression.files.paths import user_path

_CHUNK = 1 << 20


def text_digest(text: str, prompt: str) -> bytes:
    """Of a text and of what is put in front of it, 32 bytes as every digest here."""
    before, content = (part.encode("utf-8", "surrogatepass") for part in (prompt, text))
    return hashlib.sha256(b"text %d\n" % len(before) + before + content).digest()


def image_digest(source: Any) -> bytes | None:
    """Of a file's bytes, an array, or the pixels of a PIL image.

    None for what cannot be read, or but once as an open file can: that has no digest.
    """
    from llm_compression.multimodal.vision.input import is_pil, open_rgb

    try:
        if is_pil(source):
            return _array_digest(np.asarray(open_rgb(source, "image")), "rgb")
        return _stored_digest(source) or _array_digest(source, "image")
    except (InputError, OSError):
        return None


def sound_digest(source: Any) -> bytes | None:
    """Of a file's bytes, or of an array and its sampling rate; None as of `image_digest`."""
    try:
        if isinstance(source, Mapping):
            return _array_digest(source.get("array"), f"sound {source.get('sampling_rate')!r}")
        return _stored_digest(source)
    except (InputError, OSError):
        return None


def _stored_digest(source: Any) -> bytes | None:
    """Of the bytes of a file, given as such or by its path."""
    found = hashlib.sha256(b"file\n")
    if isinstance(source, (bytes, bytearray, memoryview)):
        found.update(bytes(source))
        return found.digest()
    if not isinstance(source, (str, os.PathLike)) or not user_path(source).is_file():
        return None
    with open(user_path(source), "rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.digest()


def _array_digest(source: Any, what: str) -> bytes | None:
    """Of an array's dtype, shape and values."""
    if not hasattr(source, "__array__"):
        return None
    try:
        if hasattr(source, "detach"):  # as the encoders take a tensor: numpy has no bfloat16
            source = source.detach().cpu().resolve_conj()
            source = source.float() if source.is_floating_point() else source
        array = np.asarray(source)
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return None
    if array.dtype.kind not in "buif":
        return None
    header = f"{what} {array.dtype.str} {array.shape}\n"
    return hashlib.sha256(header.encode() + np.ascontiguousarray(array).tobytes()).digest()
