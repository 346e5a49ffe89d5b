"""The columns of a dataset, and vectors in one of them."""

import numpy as np
import pyarrow as pa

from llm_compression.errors import InputError

SOURCES = {"text": "text_id", "vision": "image_id", "audio": "audio_id", "clip": "source_id"}
DTYPES = ("float32", "float16", "int8")
TIMESTAMP = pa.timestamp("us", tz="UTC")
SHORTEST, LONGEST = 1e-33, 1e33  # of vectors: no score of such leaves the numbers of float32
EMBEDDING = "embedding"
SCALE = "scale"
ATTRIBUTES = "attributes"
ATTRIBUTE = pa.struct(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("integer", pa.int64()),
        pa.field("number", pa.float64()),
        pa.field("flag", pa.bool_()),
    ]
)


def schema(modality: str, dimension: int, dtype: str) -> pa.Schema:
    """Columns of a fragment; ``docs/storage.md`` says what each holds."""
    return pa.schema(
        [
            pa.field("embedding_id", pa.string(), nullable=False),
            pa.field(SOURCES[modality], pa.string(), nullable=False),
            pa.field("modality", pa.string(), nullable=False),
            pa.field("model", pa.string(), nullable=False),
            pa.field("fingerprint", pa.string(), nullable=False),
            pa.field("dtype", pa.string(), nullable=False),
            pa.field("normalized", pa.bool_(), nullable=False),
            pa.field("dimension", pa.int32(), nullable=False),
            pa.field("timestamp", TIMESTAMP, nullable=False),
            pa.field("duration_seconds", pa.float32()),
            pa.field("metadata", pa.string(), nullable=False),
            pa.field(ATTRIBUTES, pa.list_(pa.field("element", ATTRIBUTE, nullable=False))),
            pa.field(SCALE, pa.float32()),
            pa.field(EMBEDDING, vector_type(dimension, dtype), nullable=False),
        ]
    )


def vector_type(dimension: int, dtype: str) -> pa.DataType:
    """Numbers that every Parquet reader shows as numbers; bytes for int8, which Parquet has not."""
    if dtype == "int8":
        return pa.binary(dimension)
    return pa.list_(pa.field("element", pa.from_numpy_dtype(dtype), nullable=False), dimension)


def encode_vectors(vectors: np.ndarray, dtype: str) -> tuple[pa.Array, pa.Array]:
    """(n, d) float32 as the columns ``embedding`` and ``scale``; int8 has a scale for each row.

    Raises:
        InputError: a value is too large for float16, or a whole vector too small for the type.
    """
    n, d = vectors.shape
    kind, no_scales = vector_type(d, dtype), pa.nulls(n, pa.float32())
    if dtype == "int8":
        codes, scales = to_int8(vectors)
        _refuse_lost(vectors, codes, dtype)
        return pa.FixedSizeBinaryArray.from_buffers(kind, n, [None, pa.py_buffer(codes)]), scales
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(vectors, dtype)
    if not np.isfinite(stored).all():
        raise InputError(f"a value is beyond {dtype}'s {np.finfo(stored.dtype).max}")
    _refuse_lost(vectors, stored, dtype)
    return pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), type=kind), no_scales


def _refuse_lost(vectors: np.ndarray, stored: np.ndarray, dtype: str) -> None:
    """A vector that is not zero must not become zero."""
    if dtype == "float32":
        return
    lost = np.flatnonzero(vectors.any(axis=1) & ~stored.any(axis=1))
    if len(lost):
        raise InputError(f"the vector of row {lost[0]} is too small for {dtype}; store float32")


def to_int8(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) float32 -> (n, d) int8 and (n,) float32 whose product is nearest to it."""
    scales: np.ndarray = np.abs(vectors).max(axis=1) / np.float32(127)
    levels: np.ndarray = np.rint(vectors / np.where(scales == 0, 1, scales)[:, None])
    return np.clip(levels, -127, 127).astype(np.int8), scales  # the least scales are coarse


def lengths(vectors: np.ndarray) -> np.ndarray:
    """(n, d) -> (n,) Euclidean lengths, in blocks that stay in the cache.

    The sums are of float64, as squares of float32 values leave its range.
    """
    found = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), 4096):
        block = vectors[start : start + 4096].astype(np.float64)
        with np.errstate(over="ignore"):  # a length may do so too
            found[start : start + 4096] = np.sqrt(np.einsum("nd,nd->n", block, block))
    return found


def decode_vectors(embedding: pa.Array, scale: pa.Array) -> np.ndarray:
    """(n, d) float32 of the columns ``embedding`` and ``scale``, a view where they are float32."""
    n, kind = len(embedding), embedding.type
    if pa.types.is_fixed_size_binary(kind):
        width = kind.byte_width
        start = embedding.offset * width
        codes = np.frombuffer(embedding.buffers()[1], np.int8)[start : start + n * width]
        steps: np.ndarray = scale.to_numpy(zero_copy_only=False).astype(np.float32)
        decoded: np.ndarray = codes.reshape(n, width) * steps[:, None]
        return decoded
    stored: np.ndarray = embedding.flatten().to_numpy().reshape(n, kind.list_size)
    return stored.astype(np.float32, copy=False)
