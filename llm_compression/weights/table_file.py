"""The file of a weight table: where it is, its bytes in memory, its footer and what that says."""

import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from llm_compression.errors import (
    CorruptWeightTableError,
    NotAWeightTableError,
    WeightTableError,
    WeightTableNotFoundError,
)
from llm_compression.weights.schema import MODEL_FILE, PREFIX

MAGIC = b"PAR1"
_TAIL = 8  # footer length and magic


def table_path(path: Path) -> Path:
    """The file itself, or ``model.parquet`` in the folder.

    Raises:
        WeightTableNotFoundError: the folder is a checkpoint that was not converted.
    """
    if not path.is_dir():
        return path
    if not (path / MODEL_FILE).exists() and (path / "config.json").exists():
        raise WeightTableNotFoundError(
            f"{path} is a checkpoint, not a weight table; `from_pretrained` opens it, and "
            "`llm-compression convert` makes a weight table of it"
        )
    return path / MODEL_FILE


def map_table(path: Path) -> mmap.mmap | bytes:
    """The file's bytes, mapped read-only.

    Raises:
        WeightTableNotFoundError, WeightTableError: it is not there, or cannot be read.
    """
    try:
        with open(path, "rb", opener=open_at_once) as file:
            size = os.fstat(file.fileno()).st_size
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except FileNotFoundError:
        raise WeightTableNotFoundError(
            f"no weight table at {path}; make one with `llm-compression convert CHECKPOINT {path}`"
        ) from None
    except OSError as error:
        raise WeightTableError(
            f"cannot read {path}: {error.strerror or error}; give the .parquet file itself"
        ) from error


def open_at_once(path: str, flags: int) -> int:
    """An ``opener`` that does not wait: a pipe would, for somebody who writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def key_values(footer: bytes, names: Iterable[str]) -> dict[bytes, bytes]:
    """The pairs of a footer with these names under our prefix, of those that are there.

    They are found as Thrift's compact protocol writes a `KeyValue` (parquet.thrift): each of its
    two strings behind 0x18 and its length. pyarrow would parse all row groups, and takes longer to
    load than a mapped copy to open. No text of ours holds the byte 0x18.

    Raises:
        ValueError: a name stands twice, or its value ends behind the footer.
    """
    found = {}
    for name in names:
        key = f"{PREFIX}{name}".encode()
        before = b"\x18" + bytes([len(key)]) + key + b"\x18"
        first = footer.find(before)
        if first < 0:
            continue
        size, start = _varint(footer, first + len(before))
        if footer.rfind(before) != first or start + size > len(footer):
            raise ValueError(f"the pair {name}")
        found[key] = footer[start : start + size]
    return found


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The number there, seven bits in a byte and the lowest first, and where it ends."""
    number = 0
    for i, byte in enumerate(content[at : at + 5]):
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number, at + i + 1
    raise ValueError("a number without an end")


def split_footer(content: np.ndarray, path: Path) -> tuple[int, bytes]:
    """Where the footer of a Parquet file starts, and the footer with length and magic.

    Raises:
        NotAWeightTableError: it is no Parquet file.
        CorruptWeightTableError: it was one.
    """
    size = len(content)
    head, tail = bytes(content[:4]), bytes(content[-_TAIL:])
    if size < len(MAGIC) + _TAIL or (head != MAGIC and tail[4:] != MAGIC):
        raise NotAWeightTableError(
            f"{path} is not a Parquet file; convert a checkpoint with "
            "`llm-compression convert CHECKPOINT OUTPUT`"
        )
    start = size - _TAIL - int.from_bytes(tail[:4], "little")
    if head != MAGIC or tail[4:] != MAGIC or start < len(MAGIC):
        raise CorruptWeightTableError(
            f"{path} is truncated or damaged at its {'start' if head != MAGIC else 'end'}"
            f" ({size} bytes); copy it again or convert the model again"
        )
    return start, bytes(content[start:])
