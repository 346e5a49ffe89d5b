"""What other libraries find among the same vectors: faiss, usearch and LanceDB."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.ann_indexes import FRAGMENT, TOP, Contestant, Search, faiss, lance_schema, usearch

Ask = Callable[[np.ndarray], Sequence[int]]
_OTHERS: Sequence[tuple[Contestant, int]] = (
    (usearch("bf16"), 64),
    (faiss("IVF4096,SQ8"), 128),
)


def foreign(rows: np.ndarray, folder: Path) -> Iterator[tuple[str, Ask]]:
    """Each by its name, its index built: functions of a query, (d,), that give numbers of rows."""
    import faiss as library
    from usearch.index import search

    flat = library.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    yield "faiss, IndexFlatIP", lambda query: flat.search(query[None], TOP)[1][0].tolist()
    yield "usearch, exact", lambda q: search(rows, q, TOP, "ip", exact=True).keys.tolist()
    yield "LanceDB, no index", _lance_flat(rows, folder / "lance")
    for contestant, effort in _OTHERS:
        yield from _built(contestant, effort, rows, folder)


def _lance_flat(rows: np.ndarray, folder: Path) -> Ask:
    import lancedb as library
    import pyarrow as pa

    table = library.connect(folder).create_table("rows", schema=lance_schema(rows.shape[1]))
    for start in range(0, len(rows), FRAGMENT):
        part = rows[start : start + FRAGMENT]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), rows.shape[1])
        table.add(pa.table({"id": np.arange(start, start + len(part)), "vector": vectors}))

    def ask(query: np.ndarray) -> list[int]:
        asked = table.search(query).distance_type("dot").limit(TOP).select(["id", "_distance"])
        found: list[int] = asked.to_arrow()["id"].to_pylist()
        return found

    return ask


def _built(
    contestant: Contestant, effort: int, rows: np.ndarray, folder: Path
) -> Iterator[tuple[str, Ask]]:
    files = folder / contestant.files
    files.mkdir()
    contestant.build(rows, files)
    ask: Search = contestant.open(files, rows)
    yield contestant.name, lambda query: ask(query, effort).tolist()
