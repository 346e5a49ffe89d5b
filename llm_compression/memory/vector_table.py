"""Texts, images or sounds with vectors in a Parquet file that says how these were made."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llm_compression.errors import InputError
from llm_compression.files.atomic import atomic_write
from llm_compression.memory.identity import VectorIdentity
from llm_compression.metrics.quantization import EmbeddingRanges
from llm_compression.spec import codec
from llm_compression.spec.names import PRECISIONS

_IDENTITY = b"llm_compression.vectors"
_RANGES = b"llm_compression.ranges"
_PROMPT = b"llm_compression.prompt"  # in files from before the identity stated it


@dataclass(frozen=True)
class VectorTable:
    """``vectors`` (n, d), one row for each of ``sources``, which are texts, or paths of files.

    ``token_counts`` and ``truncated`` are of texts, in front of which ``identity.prompt`` was put.
    ``ranges`` are those whose digest the identity states.
    ``starts`` and ``stops`` are of sounds: the seconds that a row is of.
    """

    sources: list[str]
    vectors: np.ndarray
    identity: VectorIdentity
    token_counts: list[int] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    ranges: EmbeddingRanges | None = None
    starts: list[float] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write columns ``text``, ``image`` or ``audio``, and ``vector`` (fixed size list).

        Texts have ``token_count`` and ``truncated`` beside them, sounds ``start`` and ``stop``.

        Raises:
            OSError: the file cannot be written.
        """
        width = self.vectors.shape[1]
        items = pa.field("item", pa.from_numpy_dtype(self.vectors.dtype), nullable=False)
        flat = pa.array(self.vectors.reshape(-1))
        columns = {
            self.identity.modality: pa.array(self.sources, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(items, width)),
        }
        if self.identity.modality == "text":
            columns["token_count"] = pa.array(self.token_counts, pa.int32())
            columns["truncated"] = pa.array(self.truncated, pa.bool_())
        if self.identity.modality == "audio":
            columns["start"] = pa.array(self.starts, pa.float64())
            columns["stop"] = pa.array(self.stops, pa.float64())
        metadata = {_IDENTITY: codec.dumps(self.identity)}
        if self.ranges is not None:
            metadata[_RANGES] = self.ranges.to_json()
        table = pa.table(columns).replace_schema_metadata(metadata)
        with atomic_write(path) as draft:
            pq.write_table(table, draft.path, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> "VectorTable":
        """Read what `write` wrote.

        Raises:
            InputError: no such file, or not one of ours.
        """
        try:
            table = pq.read_table(path)
            metadata = table.schema.metadata or {}
            if _IDENTITY not in metadata:
                raise ValueError("nothing in it says how they were made")
            ranges = _ranges(metadata, str(path))
            identity = _identity(metadata, ranges, str(path))
            of_texts, of_sounds = identity.modality == "text", identity.modality == "audio"
            return cls(
                sources=_column(table, identity.modality, pa.string()),
                vectors=_vectors(table["vector"].combine_chunks(), identity),
                identity=identity,
                token_counts=_column(table, "token_count", pa.int32()) if of_texts else [],
                truncated=_column(table, "truncated", pa.bool_()) if of_texts else [],
                ranges=ranges,
                starts=_column(table, "start", pa.float64()) if of_sounds else [],
                stops=_column(table, "stop", pa.float64()) if of_sounds else [],
            )
        except (OSError, ValueError, KeyError) as error:  # Arrow's and the codec's are ValueErrors
            raise InputError(
                f"{path} holds no vectors of `llm-compression embed`: {error}"
            ) from error


def _identity(
    metadata: dict[bytes, bytes], ranges: EmbeddingRanges | None, where: str
) -> VectorIdentity:
    """How the vectors were made; files from before the identity told all of it have the rest.

    Raises:
        ValueError: it is none, or its ranges are not those of the file.
    """
    identity = codec.loads(VectorIdentity, metadata[_IDENTITY].decode(), where)
    digest = "" if ranges is None else ranges.digest
    if not identity.ranges:
        identity = replace(identity, ranges=digest)
    if _PROMPT in metadata:
        identity = replace(identity, prompt=metadata[_PROMPT].decode())
    if identity.ranges != digest:
        raise ValueError("its ranges are not those that its vectors were scaled by")
    return identity


def _column(table: pa.Table, name: str, kind: pa.DataType) -> list[Any]:
    """The values of a column.

    Raises:
        KeyError: it is not there.
        ValueError: it is of another type, or has nulls or NaN.
    """
    column = table[name]
    if column.type != kind or column.null_count:
        raise ValueError(f"{name} is {column.type}, expected {kind} without nulls")
    values: list[Any] = column.to_pylist()
    if any(value != value for value in values):  # noqa: PLR0124  only NaN differs from itself
        raise ValueError(f"{name} holds NaN")
    return values


def _vectors(column: pa.Array, identity: VectorIdentity) -> np.ndarray:
    """(n, width) as the identity says.

    Raises:
        ValueError: the column is of another type or width, or has nulls.
    """
    if identity.precision not in PRECISIONS:
        raise ValueError(f"precision {identity.precision!r} is not one of {PRECISIONS}")
    packed = identity.precision in ("binary", "ubinary")
    width = -(-identity.dimension // 8) if packed else identity.dimension
    dtype = {"binary": "int8", "ubinary": "uint8"}.get(identity.precision, identity.precision)
    kind, item = column.type, pa.from_numpy_dtype(dtype)
    fits = pa.types.is_fixed_size_list(kind) and (kind.list_size, kind.value_type) == (width, item)
    if not fits or column.null_count or column.flatten().null_count:
        raise ValueError(f"vector is {kind}, expected {width} {dtype} without nulls")
    vectors: np.ndarray = column.flatten().to_numpy().reshape(len(column), width)
    return vectors


def _ranges(metadata: dict[bytes, bytes], where: str) -> EmbeddingRanges | None:
    if _RANGES not in metadata:
        return None
    return EmbeddingRanges.from_json(metadata[_RANGES].decode(), where)
