"""migrate: brings the rows of the system before this one over."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm_compression.errors import InputError, StorageError, StorageNotFoundError
from llm_compression.files.paths import user_path
from llm_compression.memory.modalities import KINDS
from llm_compression.memory.multimodal_storage import MultimodalStorage
from llm_compression.memory.storage.arrow import matrix, time
from llm_compression.memory.storage.attributes import metadata_columns
from llm_compression.memory.storage.layout import EMBEDDING, SOURCES, TIMESTAMP
from llm_compression.memory.storage.predecessor import predecessor_files, read_predecessor
from llm_compression.memory.storage.rows import is_comparable
from llm_compression.multimodal.inputs import check_choice


def migrate(
    source: str | Path,
    target: str | Path,
    *,
    dtype: str | None = None,
    several_models: bool = False,
    duplicates: str = "error",
    invalid: str = "error",
) -> dict[str, int]:
    """Store the rows of an old dataset in a new folder, and say how many came of each modality.

    The old files stay as they are. The rows of one model in a modality come over all or none, and
    after a kill the same call goes on: rows whose ids the target has stay as they are there.

    Args:
        source: a folder with ``vision/embeddings.parquet`` and its like. Times in it are UTC.
        target: the folder of a `MultimodalStorage`.
        dtype: how to store; None as the old file does, which is float16 and loses nothing more.
        several_models: take rows of several models, of which each finds only its like.
        duplicates: ids that stand twice, which the old system let pass, are an ``error``, or the
            ``last`` row counts.
        invalid: rows that cannot be stored, as they have no id, no embedding or NaN in it, no
            source, no time, a duration that is none, a wrong modality or metadata that is no JSON,
            are an ``error``, or ``skip`` leaves them out.

    Raises:
        StorageNotFoundError: there is nothing of the old system in ``source``.
        StorageError: a file is damaged, an id stands twice, or several models are mixed.
        InputError: a row that cannot be stored; names it.
    """
    old, new = user_path(source), user_path(target)
    files = predecessor_files(old)
    if not files:
        raise StorageNotFoundError(f"no embeddings.parquet of the earlier system in {old}")
    if old.resolve() == new.resolve():
        raise InputError(f"{new} is the old folder; choose another, so that nothing is mixed")
    for name, value, other in (("duplicates", duplicates, "last"), ("invalid", invalid, "skip")):
        check_choice(value, name, ("error", other))
    tables = {name: read_predecessor(old, name) for name in files}
    for name, table in tables.items():
        tables[name] = _valid(_unique(table, name, duplicates), name, invalid)
        _check_models(tables[name], name, several_models=several_models)
    return {
        name: _store(new, name, table, dtype, several_models=several_models)
        for name, table in tables.items()
    }


def _store(
    target: Path, modality: str, table: pa.Table, dtype: str | None, *, several_models: bool
) -> int:
    """Store the rows whose ids are not there yet."""
    was = "float16" if pa.types.is_float16(table[EMBEDDING].type.value_type) else "float32"
    storage = MultimodalStorage(target, dtype=dtype or was, several_models=several_models)
    there = storage.query(modality, columns=["embedding_id"])["embedding_id"]
    ids = table["embedding_id"].cast(pa.string())
    come = pc.is_in(ids, value_set=there.combine_chunks())
    return storage.store_table(modality, table.filter(pc.invert(come)))


def _unique(table: pa.Table, modality: str, duplicates: str) -> pa.Table:
    ids = [one or row for row, one in enumerate(table["embedding_id"].to_pylist())]
    last = {one: row for row, one in enumerate(ids)}
    if len(last) == len(ids):
        return table
    if duplicates == "error":
        twice = next(one for row, one in enumerate(ids) if last[one] != row)
        raise StorageError(
            f"id {twice!r} stands twice among {modality}; duplicates='last' keeps the last of each"
        )
    return table.take(pa.array(sorted(last.values())))


def _valid(table: pa.Table, modality: str, invalid: str) -> pa.Table:
    """The rows that can be stored."""
    column = table[EMBEDDING].combine_chunks()
    numbers = column.is_valid().to_numpy(zero_copy_only=False).copy()
    numbers[numbers] = _are_comparable(matrix(column.drop_null()))
    ids = table["embedding_id"].to_pylist()
    reasons = {
        "no embedding_id": np.array(list(map(bool, ids)), bool),
        "no embedding, NaN in it, or a length that cannot be compared": numbers,
        f"no {SOURCES[modality]}": table[SOURCES[modality]].is_valid().to_numpy(),
        "no time, or one beyond the year 9999": np.array(list(map(_is_time, _microseconds(table)))),
        "a duration that is no time": _met(table, "duration_seconds", _is_duration),
        "a wrong modality": _met(table, "modality", lambda kind: kind in KINDS[modality]),
        "metadata that is no JSON": _are_json(table["metadata"].to_pylist()),
    }
    for reason, met in reasons.items():
        if invalid == "error" and not met.all():
            row = int(np.flatnonzero(~met)[0])
            raise InputError(
                f"{(~met).sum()} rows of {modality} have {reason}, {ids[row] or row!r} for one; "
                "invalid='skip' leaves them out"
            )
    return table.filter(pa.array(np.logical_and.reduce(list(reasons.values()))))


def _are_comparable(vectors: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        found: np.ndarray = vectors.astype(np.float32)
    finite: np.ndarray = np.isfinite(found).all(axis=1)
    finite[finite] = is_comparable(found[finite])
    return finite


def _met(table: pa.Table, name: str, holds: Callable[[Any], bool]) -> np.ndarray:
    """(n,) bool: whether it holds of each value of a column, if there is such a column."""
    if name not in table.column_names:
        return np.ones(len(table), bool)
    return np.array(list(map(holds, table[name].to_pylist())), bool)


def _is_duration(seconds: float | None) -> bool:
    return seconds is None or 0 <= seconds < math.inf


def _microseconds(table: pa.Table) -> list[int | None]:
    column = table["timestamp"]
    if not pa.types.is_timestamp(column.type):
        raise InputError(f"column 'timestamp' is {column.type}; make timestamps of it first")
    try:
        counts: list[int | None] = column.cast(TIMESTAMP).cast(pa.int64()).to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(
            f"column 'timestamp' is {column.type}, and microseconds lose of it: {error}; round it"
        ) from error
    return counts


def _is_time(microseconds: int | None) -> bool:
    if microseconds is None:
        return False
    try:
        time(microseconds)
    except OverflowError:
        return False
    return True


def _are_json(texts: list[str | None]) -> np.ndarray:
    """(n,) bool: which can be metadata; JSON has no NaN, which Python's own writes."""
    return np.array([_is_json(text) for text in texts], bool)


def _is_json(text: str | None) -> bool:
    try:
        metadata_columns([json.loads(text) if text else None])
    except (InputError, ValueError):
        return False
    return True


def _check_models(table: pa.Table, modality: str, *, several_models: bool) -> None:
    models = table["model"].unique().to_pylist()
    if len(models) > 1 and not several_models:
        raise StorageError(
            f"rows of {modality} are of models {models}, whose vectors cannot be compared; "
            "several_models=True keeps them apart in one dataset"
        )
