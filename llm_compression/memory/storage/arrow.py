"""Arrow tables from elsewhere as arguments of `VectorStorage.store`."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm_compression.errors import IdentityMismatchError, InputError
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.fragment import IDENTITY_KEY
from llm_compression.memory.storage.layout import EMBEDDING, SOURCES, TIMESTAMP
from llm_compression.spec import codec


def as_table(given: object) -> pa.Table:
    """A table, a record batch, or what a reader of such gives, as a table.

    Raises:
        InputError: it is another thing, or has two columns of one name.
    """
    if isinstance(given, pa.RecordBatch):
        given = pa.Table.from_batches([given])
    if isinstance(given, pa.RecordBatchReader):
        given = given.read_all()
    if not isinstance(given, pa.Table):
        kind = type(given).__name__
        raise InputError(f"that is {kind}, no Arrow table; make one by pyarrow.table(...)")
    names: list[str] = given.column_names
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"the table has two columns {twice[0]!r}; rename or drop one")
    return given


def stated_identity(table: pa.Table) -> VectorIdentity | None:
    """The identity that `VectorReader.query` puts into a table's metadata."""
    content = (table.schema.metadata or {}).get(IDENTITY_KEY)
    where = "the table's metadata"
    return None if content is None else codec.loads(VectorIdentity, content.decode(), where)


def check_fingerprints(table: pa.Table, identity: VectorIdentity | None) -> None:
    """See that a table's rows were made as its metadata says, or by models known by name alone.

    Raises:
        IdentityMismatchError: a row says otherwise.
    """
    if "fingerprint" not in table.column_names:
        return
    named = table["model"] if "model" in table.column_names else table["fingerprint"]
    pairs = pa.table({"model": named, "made": table["fingerprint"]}).group_by(["model", "made"])
    for row in pairs.aggregate([]).to_pylist():
        if row["made"] not in ((row["model"], None) if identity is None else (identity.model,)):
            said = "is gone" if identity is None else f"names {identity.model!r}"
            raise IdentityMismatchError(
                f"rows have the fingerprint {row['made']!r}, but the table's metadata, which says "
                f"how its vectors were made, {said}; store what query gave of one model as it is, "
                "or drop the column 'fingerprint' to store vectors under the model's name alone"
            )


def by_model(table: pa.Table) -> Iterator[tuple[str | None, pa.Table]]:
    """The rows of each model, in order; all under None where no column tells."""
    if "model" not in table.column_names:
        yield None, table
        return
    models = table["model"]
    for model in models.unique().to_pylist():
        yield (
            model,
            table.filter(pc.equal(models, model) if model is not None else models.is_null()),
        )


def arguments(table: pa.Table, modality: str) -> dict[str, Any]:
    """Keyword arguments of `VectorStorage.store`, but for ``model`` and ``identity``.

    Columns ``embedding_id``, the modality's source and ``embedding`` must be there; ``modality``,
    ``timestamp``, ``duration_seconds`` and ``metadata`` (JSON, or a struct) may be.

    Raises:
        InputError: a column that is missing, or of a type that cannot be.
    """
    source = SOURCES[modality]
    for name in ("embedding_id", source, EMBEDDING):
        if name not in table.column_names:
            raise InputError(f"the table has no column {name!r}; it has {table.column_names}")
    return {
        "ids": table["embedding_id"].to_pylist(),
        "sources": table[source].to_pylist(),
        "embeddings": matrix(table[EMBEDDING].combine_chunks()),
        "kinds": _optional(table, "modality"),
        "timestamps": _times(table),
        "durations": _optional(table, "duration_seconds"),
        "metadata": [_parsed(one, row) for row, one in enumerate(_metadata(table))],
    }


def times(column: pa.ChunkedArray) -> list[Any]:
    """Timestamps of `layout.TIMESTAMP` as datetimes of UTC, or None."""
    return [None if n is None else time(n) for n in column.cast(pa.int64()).to_pylist()]


def time(microseconds: int) -> datetime:
    """A timestamp of `layout.TIMESTAMP` as datetime of UTC.

    Arrow's own way parses the name of the zone by a regular expression of the C++ library, which
    crashes the process where usearch was imported before pyarrow, as that brings another one.
    """
    return _EPOCH + timedelta(microseconds=microseconds)


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _optional(table: pa.Table, name: str) -> list[Any] | None:
    if name not in table.column_names:
        return None
    values: list[Any] = table[name].to_pylist()
    return values


def _times(table: pa.Table) -> list[Any] | None:
    if "timestamp" not in table.column_names:
        return None
    column = table["timestamp"]
    if not pa.types.is_timestamp(column.type):
        raise InputError(f"column 'timestamp' is {column.type}; give timestamps")
    try:  # finer than microseconds is cut, but nothing wraps around
        return times(column.cast(TIMESTAMP, safe=column.type.unit != "ns"))
    except (pa.ArrowInvalid, OverflowError) as error:
        raise InputError(f"column 'timestamp' holds a time that cannot be: {error}") from error


def _metadata(table: pa.Table) -> list[Any]:
    given = _optional(table, "metadata")
    return [None] * len(table) if given is None else given


def _parsed(metadata: Any, row: int) -> Any:
    if not isinstance(metadata, str):
        return metadata
    try:
        return json.loads(metadata) if metadata else None
    except ValueError as error:
        raise InputError(f"metadata of row {row} is no JSON: {error}") from error


def matrix(column: pa.Array) -> np.ndarray:
    """(n, d) of a column of lists of floats.

    Raises:
        InputError: it holds something else, or lists of different lengths.
    """
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (is_list or pa.types.is_fixed_size_list(kind)) or not pa.types.is_floating(
        kind.value_type
    ):
        raise InputError(f"column {EMBEDDING!r} is {kind}; give lists of floats")
    flat = column.flatten()
    if column.null_count or flat.null_count:
        raise InputError(f"column {EMBEDDING!r} holds nulls; leave such rows out")
    sizes = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(sizes) > 1:
        raise InputError(f"column {EMBEDDING!r} has rows of widths {sorted(sizes)}; give one width")
    values: np.ndarray = flat.to_numpy(zero_copy_only=False)
    return values.reshape(len(column), sizes[0] if sizes else 0)
