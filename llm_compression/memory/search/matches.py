"""From the rows that a search found to what is stored of them."""

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from llm_compression.memory.search.best import Best
from llm_compression.memory.search.options import Match
from llm_compression.memory.search.part import Part
from llm_compression.memory.storage.arrow import times

_COLUMNS = ["embedding_id", "modality", "model", "timestamp", "duration_seconds", "metadata"]


def matches(
    best: Best, parts: Sequence[Part], source: str, threshold: float | None
) -> list[list[Match]]:
    """Those of each query that score at least ``threshold``, best first.

    Args:
        best: rows by their numbers among all of ``parts``.
        parts: where those rows stand, in their order.
        source: the column that says what each vector was made of.
        threshold: None for all.
    """
    kept = best.rows >= 0
    if threshold is not None:
        kept &= best.scores >= threshold
    query, place = np.nonzero(kept)
    rows, scores = best.rows[query, place], best.scores[query, place]
    order = np.argsort(rows, kind="stable")
    found: list[list[Match]] = [[] for _ in best.rows]
    if len(order):
        read = _read(parts, rows[order], scores[order], source)
        for i, at in zip(query.tolist(), np.argsort(order).tolist(), strict=True):
            found[i].append(read[at])
    return found


def _read(parts: Sequence[Part], rows: np.ndarray, scores: np.ndarray, source: str) -> list[Match]:
    """The matches of some rows, which ascend."""
    starts = [part.start for part in parts]
    bounds = [*np.searchsorted(rows, starts).tolist(), len(rows)]
    names = [source, *_COLUMNS]
    table = pa.concat_tables(
        part.twin.table(names, rows[a:b] - part.start)
        for part, a, b in zip(parts, bounds[:-1], bounds[1:], strict=True)
        if a < b
    )
    return list(
        map(
            Match,  # its fields in their order
            table["embedding_id"].to_pylist(),
            table[source].to_pylist(),
            scores.tolist(),
            table["modality"].to_pylist(),
            table["model"].to_pylist(),
            times(table["timestamp"]),
            table["duration_seconds"].to_pylist(),
            map(json.loads, table["metadata"].to_pylist()),
        )
    )
