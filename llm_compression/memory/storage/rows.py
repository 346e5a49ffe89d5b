"""New rows: what callers give, checked and as one Arrow table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa

from llm_compression.errors import DuplicateIdError, InputError
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.attributes import metadata_columns
from llm_compression.memory.storage.layout import (
    LONGEST,
    SHORTEST,
    TIMESTAMP,
    encode_vectors,
    lengths,
    schema,
)

_LONGEST = float(np.finfo(np.float32).max)
_UNIT = 1e-3  # how far from 1 the length of a vector may be that float16 has rounded


@dataclass(frozen=True)
class Rows:
    """Rows of one dataset whose vectors were made alike; ``table`` is as `layout.schema` says."""

    table: pa.Table
    identity: VectorIdentity
    dtype: str


def as_array(vectors: Any) -> np.ndarray:
    """Vectors as an array, those of PyTorch too where they have a gradient or are bfloat16.

    Raises:
        InputError: they differ in width, or numpy takes them for no array.
    """
    try:
        if hasattr(vectors, "detach"):
            vectors = vectors.detach().cpu().resolve_conj()
            vectors = vectors.double() if vectors.is_floating_point() else vectors
        return np.asarray(vectors)
    except ValueError as error:
        raise InputError("the embeddings differ in width; one dataset has one width") from error
    except (TypeError, RuntimeError) as error:
        raise InputError(f"the embeddings are no array: {error}; give (n, d) floats") from error


def as_vectors(vectors: object, rows: int | None = None) -> np.ndarray:
    """(n, d) float32 from what numpy takes for a matrix of floats.

    Raises:
        InputError: another shape, other numbers, or NaN; names the row.
    """
    given = as_array(vectors)
    if given.dtype == object or given.dtype.kind not in "fiu" or given.ndim != 2:
        raise InputError(
            f"embeddings must be (n, d) floats, not {given.dtype} of shape {given.shape}"
        )
    if given.dtype.kind != "f":
        raise InputError(
            f"embeddings are {given.dtype}; give floats, which the storage's dtype can make small"
        )
    if given.shape[1] == 0 or (rows is not None and len(given) != rows):
        raise InputError(f"{rows} rows have embeddings of shape {given.shape}")
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(given, np.float32)
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise InputError(f"the embedding of row {row} holds NaN or infinite values; make it again")
    if found.dtype != given.dtype and (lost := given.any(axis=1) & ~found.any(axis=1)).any():
        row = int(np.flatnonzero(lost)[0])
        raise InputError(f"the embedding of row {row} is too small for float32; scale it")
    return found


def is_unit(vectors: np.ndarray) -> np.ndarray:
    """(n, d) -> (n,) whether each has length 1, or is the zero vector of a blank text.

    One that was read from int8 may have the length that rounding gave it.
    """
    long = lengths(vectors)
    off: np.ndarray = np.abs(long - 1)
    near: np.ndarray = (off <= _UNIT) | (long == 0)
    far = np.flatnonzero(~near)
    near[far] = off[far] <= _UNIT + _rounded_by_int8(vectors[far])
    return near


def _rounded_by_int8(vectors: np.ndarray) -> np.ndarray:
    """(n, d) -> (n,) how far int8 may have moved each, 0 where its values are no such levels.

    The largest value is 127 steps, every other one was moved by half a step at most.
    """
    steps: np.ndarray = np.abs(vectors).max(axis=1) / np.float32(127)
    levels = vectors / np.maximum(steps, SHORTEST)[:, None]
    are_levels = (np.abs(levels - np.rint(levels)) <= _LEVEL).all(axis=1)
    moved: np.ndarray = np.where(are_levels, math.sqrt(vectors.shape[1] - 1) * steps / 2, 0)
    return moved


_LEVEL = 1 / 8  # of a step: what float16 behind int8 moves a level and its step, 2 * 127 / 2048


def is_comparable(vectors: np.ndarray) -> np.ndarray:
    """(n, d) -> (n,) whether scores of each can be computed; those of a zero vector are 0."""
    long = lengths(vectors)
    found: np.ndarray = (long == 0) & ~vectors.any(axis=1)
    found |= (long >= SHORTEST) & (long <= LONGEST)
    return found


def build(
    identity: VectorIdentity,
    dtype: str,
    *,
    ids: Sequence[str],
    sources: Sequence[str],
    vectors: np.ndarray,
    kinds: Sequence[str],
    model: str,
    metadata: Sequence[Any] | None,
    timestamps: Sequence[datetime | None] | datetime | None,
    durations: Sequence[float | None] | None,
) -> Rows:
    """Rows of ``ids``; ``vectors`` are of `as_vectors`, ``kinds`` what each was made from.

    Raises:
        InputError: columns that differ in length, or a value that cannot be; names the row.
        DuplicateIdError: an id stands twice.
    """
    n = len(ids)
    _check_ids(ids)
    _check_vectors(vectors, identity)
    texts, attributes = metadata_columns(_column(metadata, n, "metadata"))
    embedding, scale = encode_vectors(vectors, dtype)
    columns = [
        pa.array(ids, pa.string()),
        pa.array(_texts(sources, n, "sources"), pa.string()),
        pa.array(_texts(kinds, n, "modalities"), pa.string()),
        _same(model, n),
        _same(identity.model, n),
        _same(dtype, n),
        pa.array([identity.normalized] * n, pa.bool_()),
        pa.array([identity.dimension] * n, pa.int32()),
        _times(timestamps, n),
        pa.array(_durations(_column(durations, n, "durations")), pa.float32()),
        texts,
        attributes,
        scale,
        embedding,
    ]
    fields = schema(identity.modality, identity.dimension, dtype)
    return Rows(pa.Table.from_arrays(columns, schema=fields), identity, dtype)


def microseconds(time: datetime) -> int:
    """Since 1970; a time without a zone is UTC.

    Raises:
        InputError: it is no datetime, or beyond what one can be in UTC.
    """
    if not isinstance(time, datetime) or time != time:  # noqa: PLR0124  as pandas.NaT is
        raise InputError(f"{time!r} is no datetime; give datetime.now(timezone.utc), say")
    aware = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
    try:
        delta = aware.astimezone(timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    except OverflowError:
        raise InputError(f"{time!r} is not within years 1 to 9999 of UTC") from None
    return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


def _check_ids(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for row, one in enumerate(_texts(ids, len(ids), "ids")):
        if not one:
            raise InputError(f"the id of row {row} is empty")
        if one in seen:
            raise DuplicateIdError(f"id {one!r} stands twice in one batch; ids are unique")
        seen.add(one)


def _check_vectors(vectors: np.ndarray, identity: VectorIdentity) -> None:
    if vectors.shape[1] != identity.dimension:
        raise InputError(
            f"embeddings are {vectors.shape[1]} wide, their identity says {identity.dimension}"
        )
    if not (fits := is_comparable(vectors)).all():
        row = int(np.flatnonzero(~fits)[0])
        raise InputError(
            f"the embedding of row {row} has the length {_length(vectors[row]):.4g}; scale it so "
            f"that it is 0, or from {SHORTEST} to {LONGEST}, whose scores float32 can hold"
        )
    if identity.normalized and not (unit := is_unit(vectors)).all():
        row = int(np.flatnonzero(~unit)[0])
        raise InputError(
            f"the embedding of row {row} has length {_length(vectors[row]):.4g}, but these "
            "vectors are said to be normalized"
        )


def _length(vector: np.ndarray) -> float:
    return float(np.linalg.norm(vector.astype(np.float64)))


def _column(values: Sequence[Any] | None, n: int, what: str) -> Sequence[Any]:
    if values is None:
        return [None] * n
    if not is_list(values) or len(values) != n:
        raise InputError(f"{what}: give a list with one entry for each of the {n} rows")
    return values


def is_list(values: object) -> bool:
    """Whether values stand in an order, so that each goes with a row."""
    ordered = hasattr(values, "__len__") and hasattr(values, "__getitem__")
    return ordered and not isinstance(values, (str, bytes, Mapping))


def _texts(values: Sequence[str], n: int, what: str) -> Sequence[str]:
    for row, value in enumerate(_column(values, n, what)):
        if not isinstance(value, str):
            raise InputError(f"{what}: row {row} is {type(value).__name__}; give a string")
        if not is_text(value):
            raise InputError(f"{what}: row {row} holds a lone surrogate, no text")
    return values


def is_text(value: str) -> bool:
    """Whether UTF-8 can write a string, which it cannot if it has a lone surrogate."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _same(value: str, n: int) -> pa.Array:
    return pa.array([value] * n, pa.string())


def _times(times: Sequence[datetime | None] | datetime | None, n: int) -> pa.Array:
    now = microseconds(datetime.now(timezone.utc))
    if isinstance(times, datetime):
        times = [times] * n
    given = _column(times, n, "timestamps")
    return pa.array([now if t is None else microseconds(t) for t in given], TIMESTAMP)


def _durations(given: Sequence[Any]) -> list[float | None]:
    for row, one in enumerate(given):
        number = isinstance(one, (int, float, np.number)) and not isinstance(one, bool)
        if one is not None and not (number and 0 <= one <= _LONGEST):
            raise InputError(f"the duration of row {row} is {one!r}; give seconds")
    return [None if one is None else float(one) for one in given]
