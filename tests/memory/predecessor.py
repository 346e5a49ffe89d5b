"""Datasets as the system before this one wrote them, of float16 vectors 512 wide."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WIDTH = 512
SOURCES = {"vision": "image_id", "audio": "audio_id", "clip": "source_id"}
TIME = datetime(2024, 5, 6, 7, 8, 9, 123456)  # noqa: DTZ001  as the old system wrote them


def old_vectors(n: int, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def write_old(
    path: Path,
    modality: str,
    vectors: np.ndarray,
    *,
    ids: Sequence[str] | None = None,
    models: Sequence[str | None] | None = None,
    metadata: Sequence[Any] | None = None,
    embeddings: pa.Array | None = None,
) -> Path:
    """The one file of a modality."""
    n, width = vectors.shape
    columns: dict[str, Any] = {
        "embedding_id": list(ids or [f"{modality}-{i}" for i in range(n)]),
        SOURCES[modality]: [f"source {i}" for i in range(n)],
    }
    if modality == "clip":
        columns["modality"] = ["text" if i % 2 else "image" for i in range(n)]
    columns["embedding"] = (
        embeddings
        if embeddings is not None
        else pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), width)
    )
    columns["model"] = list(models or ["clip-vit-b32"] * n)
    if modality == "audio":
        columns["duration_seconds"] = pa.array([0.5 * i for i in range(n)], pa.float32())
    columns["timestamp"] = pa.array([TIME] * n, pa.timestamp("us"))
    given = [{"n": i} for i in range(n)] if metadata is None else metadata
    columns["metadata"] = pa.array(
        [None if m is None else json.dumps(m) for m in given], pa.string()
    )
    file = path / modality / "embeddings.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file, compression="zstd", compression_level=3)
    return file
