"""Where derived files live: ``LLM_COMPRESSION_CACHE``, else the user's cache folder."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder for mapped copies and converted models."""
    if chosen := os.environ.get("LLM_COMPRESSION_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "llm_compression"
