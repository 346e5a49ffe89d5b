"""Weight tables edited behind the writer's back, with a seal that is right for what they say.

The footer is edited in place: text of equal length, then the seal by its definition, written
here once more. What cannot keep its length goes through the writer with another manifest.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

from llm_compression.weights import manifest as manifests
from llm_compression.weights.checksum import fingerprint
from llm_compression.weights.schema import Manifest
from scripts.make_golden import write_golden

_MARK = b"seal:sha256:"
_SEAL = re.compile(_MARK + rb"[0-9a-f]{64}")


def footer_start(content: bytes) -> int:
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def resealed(content: bytes) -> bytes:
    """The table with the seal that its footer needs."""
    start = footer_start(content)
    blank = _SEAL.sub(_MARK + b"0" * 64, content[start:])
    digest = hashlib.sha256(blank).hexdigest().encode()
    return content[:start] + _SEAL.sub(_MARK + digest, blank)


def edited(content: bytes, old: bytes, new: bytes) -> bytes:
    """The table with one place of its footer changed, and sealed again."""
    start = footer_start(content)
    assert len(old) == len(new)
    assert content[start:].count(old) == 1, old
    return resealed(content[:start] + content[start:].replace(old, new))


def forged(path: Path, change: Callable[[Manifest], Manifest]) -> Path:
    """The golden contents under a changed manifest, whose fingerprint and seal are right."""

    def metadata(true: Manifest) -> dict[str, str]:
        false = change(true)
        name = fingerprint(false.spec, false.tensors, false.files)
        return manifests.to_metadata(replace(false, fingerprint=name))

    with mock.patch("llm_compression.weights.writer.to_metadata", metadata):
        write_golden(path)
    return path
