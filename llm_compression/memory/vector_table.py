"""Texts with their vectors in a Parquet file that says how the vectors were made."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llm_compression.errors import InputError, SpecError
from llm_compression.memory.identity import VectorIdentity
from llm_compression.metrics.quantization import EmbeddingRanges
from llm_compression.spec import codec
from llm_compression.weights.atomic import atomic_write

_IDENTITY = b"llm_compression.vectors"
_RANGES = b"llm_compression.ranges"


@dataclass(frozen=True)
class VectorTable:
    """``vectors`` (n, d), one row a text; ``prompt`` was put in front of every text."""

    texts: list[str]
    vectors: np.ndarray
    token_counts: list[int]
    truncated: list[bool]
    prompt: str
    identity: VectorIdentity
    ranges: EmbeddingRanges | None = None

    def write(self, path: Path) -> None:
        """Write columns ``text``, ``vector`` (fixed size list), ``token_count``, ``truncated``.

        Raises:
            OSError: the file cannot be written.
        """
        width = self.vectors.shape[1]
        items = pa.field("item", pa.from_numpy_dtype(self.vectors.dtype), nullable=False)
        flat = pa.array(self.vectors.reshape(-1))
        columns = {
            "text": pa.array(self.texts, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(items, width)),
            "token_count": pa.array(self.token_counts, pa.int32()),
            "truncated": pa.array(self.truncated, pa.bool_()),
        }
        metadata = {_IDENTITY: codec.dumps(self.identity), b"llm_compression.prompt": self.prompt}
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
            identity = codec.loads(VectorIdentity, metadata[_IDENTITY].decode(), str(path))
            vectors = table["vector"].combine_chunks()
            return cls(
                texts=table["text"].to_pylist(),
                vectors=vectors.values.to_numpy().reshape(len(table), -1),
                token_counts=table["token_count"].to_pylist(),
                truncated=table["truncated"].to_pylist(),
                prompt=metadata[b"llm_compression.prompt"].decode(),
                identity=identity,
                ranges=_ranges(metadata, str(path)),
            )
        except (OSError, pa.ArrowException, KeyError, SpecError) as error:
            raise InputError(
                f"{path} holds no vectors of `llm-compression embed`: {error}"
            ) from error


def _ranges(metadata: dict[bytes, bytes], where: str) -> EmbeddingRanges | None:
    if _RANGES not in metadata:
        return None
    return EmbeddingRanges.from_json(metadata[_RANGES].decode(), where)
