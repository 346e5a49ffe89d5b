"""From the rows that a search found to what is stored of them."""

import functools
import json
from collections.abc import Sequence

import numpy as np

from llm_compression.memory.search.best import Best
from llm_compression.memory.search.options import Match
from llm_compression.memory.search.part import Part
from llm_compression.memory.storage.arrow import time


def matches(
    best: Best,
    parts: Sequence[Part],
    source: str,
    factors: np.ndarray,
    threshold: float | None,
) -> list[list[Match]]:
    """Those of each query that score at least ``threshold``, best first.

    Args:
        best: rows by their numbers among all of ``parts``.
        parts: where those rows stand, in their order.
        source: the column that says what each vector was made of.
        factors: (m,) float64, by which the scores of each query are multiplied.
        threshold: None for all.
    """
    kept, scores = best.rows >= 0, best.scores * factors[:, None]
    if threshold is not None:
        kept &= scores >= threshold
    starts = [part.start for part in parts]
    where = np.searchsorted(starts, best.rows, "right") - 1
    found = []
    for i, keep in enumerate(kept):
        columns = (of_all[i, keep].tolist() for of_all in (where, best.rows, scores))
        of_one = zip(*columns, strict=True)
        found.append([_match(parts[part], row, score, source) for part, row, score in of_one])
    return found


def _match(part: Part, number: int, score: float, source: str) -> Match:
    """A row's few values cost less one by one than by Arrow's functions of columns."""
    value = functools.partial(part.twin.value, number - part.start)
    return Match(
        embedding_id=value("embedding_id").as_py(),
        source=value(source).as_py(),
        score=score,
        modality=value("modality").as_py(),
        model=value("model").as_py(),
        timestamp=time(value("timestamp").value),
        duration_seconds=value("duration_seconds").as_py(),
        metadata=json.loads(value("metadata").as_py()),
    )
