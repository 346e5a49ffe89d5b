"""Paths as a user writes them, and the folder where derived files live."""

import os
from pathlib import Path

from llm_compression.errors import InputError


def user_path(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` resolved; the home of nobody is left as it is, and not found.

    Raises:
        InputError: it is no string or `pathlib.Path`, empty, not UTF-8, or holds a null byte, which
            no file name can.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"the path is {path!r}; pass a string or a pathlib.Path")
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"the path {os.fspath(path)!r} is not UTF-8; rename it") from None
    if not os.fspath(path):
        raise InputError("the path is empty; name a file or a folder")
    if "\0" in os.fspath(path):
        raise InputError(f"{os.fspath(path)!r} holds a null byte, so it is no path")
    return Path(os.path.expanduser(path))  # noqa: PTH111  Path.expanduser raises RuntimeError


def cache_folder() -> Path:
    """For mapped copies and converted models: ``LLM_COMPRESSION_CACHE``, else the user's cache."""
    if chosen := os.environ.get("LLM_COMPRESSION_CACHE"):
        return user_path(chosen)
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "llm_compression"
