"""The file of a weight table: where it is, its bytes in memory, and where its footer lies."""

import mmap
import os
from pathlib import Path

import numpy as np

from llm_compression.errors import (
    CorruptWeightTableError,
    NotAWeightTableError,
    WeightTableError,
    WeightTableNotFoundError,
)
from llm_compression.weights.schema import MODEL_FILE

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
        with open(path, "rb") as file:
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
