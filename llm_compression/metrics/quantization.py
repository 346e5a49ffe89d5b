"""Embeddings in fewer bits: int8, uint8 and packed binary, with ranges that can be kept."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm_compression.errors import InputError
from llm_compression.files.atomic import atomic_write, output_errors
from llm_compression.spec.names import PRECISIONS


@dataclass(frozen=True, eq=False)
class EmbeddingRanges:
    """Smallest and largest value of each dimension, (d,) each, seen on calibration texts.

    ``model`` is the fingerprint of the model that gave the embeddings, ``normalized`` whether
    they were of unit length.
    """

    low: np.ndarray
    high: np.ndarray
    model: str
    normalized: bool = True

    @classmethod
    def of(
        cls, embeddings: np.ndarray, model: str, *, normalized: bool = True
    ) -> "EmbeddingRanges":
        """Ranges of calibration embeddings (n, d).

        Raises:
            InputError: fewer than two rows, which span no range, or another dtype than float32.
        """
        if embeddings.dtype != np.float32:
            raise InputError(f"ranges need float32 embeddings, not {embeddings.dtype}")
        if embeddings.ndim != 2 or len(embeddings) < 2:
            raise InputError(
                "ranges need at least two embeddings, better some hundreds; give more texts, or "
                "ranges made before from texts like these"
            )
        return cls(embeddings.min(axis=0), embeddings.max(axis=0), model, normalized)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EmbeddingRanges) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def to_json(self) -> str:
        """The ranges as JSON; float32 values survive exactly."""
        stated = {"model": self.model, "normalized": self.normalized}
        return json.dumps({**stated, "low": self.low.tolist(), "high": self.high.tolist()})

    @classmethod
    def from_json(cls, text: str, where: str) -> "EmbeddingRanges":
        """What `to_json` gave; ``where`` names the text in errors.

        Raises:
            InputError: it does not hold ranges.
        """
        try:
            content = json.loads(text)
            low, high = (np.array(content[key], np.float32) for key in ("low", "high"))
            model, normalized = str(content["model"]), bool(content["normalized"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{where} does not hold embedding ranges: {error}") from error
        if low.ndim != 1 or low.shape != high.shape or not np.all(low <= high):
            raise InputError(f"{where} does not hold embedding ranges: low and high do not fit")
        return cls(low, high, model, normalized)

    @property
    def digest(self) -> str:
        """SHA-256 of the ranges, 64 hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the ranges to a JSON file.

        Raises:
            OutputError: it cannot be written.
        """
        with output_errors(Path(path)), atomic_write(Path(path)) as draft:
            draft.path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "EmbeddingRanges":
        """Read what `save` wrote.

        Raises:
            InputError: no such file, or it does not hold ranges.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read ranges from {path}: {error}") from error
        return cls.from_json(text, str(path))


def quantize(embeddings: np.ndarray, precision: str, ranges: EmbeddingRanges | None) -> np.ndarray:
    """(n, d) float32 -> (n, d) int8 or uint8, or (n, ceil(d / 8)) packed bits.

    Values outside the ranges are clipped. The same formulas as sentence-transformers 6
    (``util/quantization.py``, ``quantize_embeddings``), so stored vectors can be mixed.

    Raises:
        InputError: an unknown precision, or ranges that are missing or of another width.
    """
    check_precision(precision)
    if precision == "float32":
        return embeddings
    if precision in ("binary", "ubinary"):
        bits = np.packbits(embeddings > 0, axis=-1)
        return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    if not len(embeddings):
        return embeddings.astype(precision)
    if ranges is None or ranges.low.shape != embeddings.shape[1:]:
        width = None if ranges is None else len(ranges.low)
        raise InputError(f"ranges of width {width} for embeddings of width {embeddings.shape[1]}")
    return _scalar(embeddings, precision, ranges)


def check_precision(precision: str) -> None:
    """Refuse an unknown precision.

    Raises:
        InputError: it is not one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")


def _scalar(embeddings: np.ndarray, precision: str, ranges: EmbeddingRanges) -> np.ndarray:
    steps = (ranges.high - ranges.low) / np.float32(255)
    steps = np.where(steps == 0, np.float32(1), steps)
    levels = np.clip(np.floor((embeddings - ranges.low) / steps), 0, 255)
    given: np.ndarray = levels if precision == "uint8" else levels - 128
    return given.astype(precision)
