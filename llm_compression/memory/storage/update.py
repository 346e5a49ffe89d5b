"""RowChange: one stored row with some of its values replaced."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.arrow import times
from llm_compression.memory.storage.layout import EMBEDDING, SCALE, SOURCES
from llm_compression.memory.storage.rows import Rows, as_array, as_vectors, build


@dataclass(frozen=True)
class RowChange:
    """What takes the place of a row's values; None leaves a value as it is."""

    embedding: object = None
    source: str | None = None
    metadata: Mapping[str, Any] | None = None
    timestamp: datetime | None = None
    duration: float | None = None

    def of(self, row: pa.Table, identity: VectorIdentity, dtype: str) -> Rows:
        """The row of a table of one, as new.

        Raises:
            InputError: a value that cannot be.
        """
        old = row.drop_columns([EMBEDDING, SCALE, "timestamp"]).to_pylist()[0]
        old["timestamp"] = times(row["timestamp"])[0]
        if self.embedding is None:  # what is stored stays: int8 would lose a little each time
            vectors, dtype = np.zeros((1, identity.dimension), np.float32), old["dtype"]
        else:
            vectors = as_vectors(as_array(self.embedding)[None], 1)
        rows = self._built(old, vectors, identity, dtype)
        if self.embedding is None:
            for name in (EMBEDDING, SCALE):
                place = rows.table.schema.get_field_index(name)
                kept = rows.table.set_column(place, rows.table.schema.field(place), row[name])
                rows = replace(rows, table=kept)
        return rows

    def _built(
        self, old: dict[str, Any], vectors: np.ndarray, identity: VectorIdentity, dtype: str
    ) -> Rows:
        return build(
            replace(identity, dimension=vectors.shape[1]),
            dtype,
            ids=[old["embedding_id"]],
            sources=[old[SOURCES[identity.modality]] if self.source is None else self.source],
            vectors=vectors,
            kinds=[old["modality"]],
            model=old["model"],
            metadata=[json.loads(old["metadata"]) if self.metadata is None else self.metadata],
            timestamps=[self.timestamp or old["timestamp"]],
            durations=[old["duration_seconds"] if self.duration is None else self.duration],
        )
