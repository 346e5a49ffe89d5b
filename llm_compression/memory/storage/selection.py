"""What callers ask rows for, and rows as callers see them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from llm_compression.errors import InputError, StorageError
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.modalities import KINDS
from llm_compression.memory.storage.fragment import IDENTITY_KEY
from llm_compression.memory.storage.layout import (
    ATTRIBUTES,
    EMBEDDING,
    SCALE,
    SOURCES,
    decode_vectors,
    encode_vectors,
    schema,
)
from llm_compression.memory.storage.rows import is_list, is_text, microseconds
from llm_compression.memory.storage.snapshot import Selection


def kinds_of(modality: str, given: Sequence[str] | None, n: int) -> Sequence[str]:
    """The column ``modality`` of new rows: what each was made from.

    Raises:
        InputError: one that the dataset does not take, or none for ``clip``.
    """
    allowed = KINDS[modality]
    if given is None and len(allowed) == 1:
        return allowed * n
    if given is None:
        raise InputError(f"say what rows of {modality!r} were made from: {' or '.join(allowed)}")
    for row, kind in enumerate(given):
        check_kind(modality, kind, f"row {row} was made from")
    return given


def check_kind(modality: str, kind: object, what: str) -> None:
    """Refuse what a dataset's rows are not made from.

    Raises:
        InputError: says what they are made from.
    """
    if kind not in KINDS[modality]:
        allowed = " or ".join(KINDS[modality])
        raise InputError(f"{what} {kind!r}; rows of {modality!r} are made from {allowed}")


def identity_in(modality: str, identity: VectorIdentity) -> VectorIdentity:
    """The identity of vectors as a dataset keeps it, in which ``image`` is of ``vision``.

    Raises:
        InputError: such vectors do not belong there, or it is no identity.
    """
    if not isinstance(identity, VectorIdentity):
        raise InputError(
            f"identity is {identity!r}; give a VectorIdentity, as a provider's identity() does, or "
            "a model's name as model="
        )
    if identity.modality not in (modality, "image" if modality == "vision" else modality):
        raise InputError(
            f"vectors of modality {identity.modality!r} do not belong into {modality!r}"
        )
    return replace(identity, modality=modality)


def select(
    modality: str,
    *,
    embedding_ids: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    kind: str | None = None,
    model: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    given: Mapping[str, Any] | None = None,
) -> Selection:
    """The conditions of `VectorStorage.query` as one.

    Raises:
        InputError: one that cannot be.
    """
    conditions: list[Mapping[str, Any]] = [] if given is None else [given]
    if sources is not None:
        conditions.append({SOURCES[modality]: {"$in": strings(sources, "sources")}})
    if kind is not None:
        check_kind(modality, kind, "rows cannot be made from")
        conditions.append({"modality": kind})
    if model is not None:
        conditions.append({"$or": [{"model": model}, {"fingerprint": model}]})
    return Selection(
        ids=None if embedding_ids is None else strings(embedding_ids, "embedding_ids"),
        filter={"$and": conditions} if conditions else None,
        since=None if since is None else microseconds(since),
        until=None if until is None else microseconds(until),
    )


def strings(values: Sequence[str], what: str) -> list[str]:
    """A list of strings.

    Raises:
        InputError: one is no string, or all are one.
    """
    listed = list(values) if isinstance(values, Iterable) else [values]
    other = [value for value in listed if not isinstance(value, str)]
    if isinstance(values, str) or other:
        raise InputError(f"{what} takes a list of strings, not {[*other, values][0]!r}")
    if not all(map(is_text, listed)):
        raise InputError(f"{what}: one holds a lone surrogate, no text")
    return listed


def in_order(values: Sequence[str], what: str) -> list[str]:
    """Strings that stand beside rows, one for each.

    Raises:
        InputError: one is no string, or they have no order, as in a set.
    """
    if not is_list(values):
        kind = type(values).__name__
        raise InputError(f"{what} takes a list of strings, one for each row, not {kind}")
    return strings(values, what)


def visible(modality: str, columns: Sequence[str] | None = None) -> list[str]:
    """Names of the columns that a query gives.

    Raises:
        InputError: a column that there is not, or none at all.
    """
    if columns is not None and (not is_list(columns) or not len(columns)):
        raise InputError(f"columns takes a list of names, at least one, not {columns!r}")
    hidden = (ATTRIBUTES, SCALE)
    names = [name for name in schema(modality, 1, "float32").names if name not in hidden]
    for name in columns or ():
        if name not in names:
            raise InputError(f"{name!r} is no column; there are {', '.join(names)}")
    return names if columns is None else list(columns)


def shown(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Some columns of a fragment's rows, the embedding as float32."""
    if EMBEDDING not in columns:
        return table.select(columns)
    parts = [decode_vectors(*pair) for pair in _chunks(table)]
    width = table.schema.field(EMBEDDING).type
    vectors = np.concatenate(parts) if parts else np.empty((0, _width(width)), np.float32)
    column = encode_vectors(vectors, "float32")[0]
    place = table.schema.get_field_index(EMBEDDING)
    field = pa.field(EMBEDDING, column.type, nullable=False)
    return table.set_column(place, field, column).select(columns)


def joined(parts: Sequence[pa.Table], modality: str, columns: Sequence[str]) -> pa.Table:
    """One table of those of several fragments, with the identity of all if they have one.

    Raises:
        StorageError: their vectors differ in width.
    """
    if not parts:
        empty = schema(modality, 0, "float32").empty_table()
        return empty.select(columns)
    plain = [part.replace_schema_metadata(None) for part in parts]
    if len({part.schema for part in plain}) > 1:
        widths = sorted({part.schema.field(EMBEDDING).type.list_size for part in plain})
        raise StorageError(
            f"the rows have embeddings of widths {widths}, of different models; ask for one model"
        )
    stated = {(part.schema.metadata or {}).get(IDENTITY_KEY) for part in parts}
    one = stated.pop() if len(stated) == 1 else None
    return pa.concat_tables(plain).replace_schema_metadata(one and {IDENTITY_KEY: one})


def _chunks(table: pa.Table) -> list[tuple[pa.Array, pa.Array]]:
    batches = table.select([EMBEDDING, SCALE]).to_batches()
    return [(batch[EMBEDDING], batch[SCALE]) for batch in batches]


def _width(kind: pa.DataType) -> int:
    size: int = kind.byte_width if pa.types.is_fixed_size_binary(kind) else kind.list_size
    return size
