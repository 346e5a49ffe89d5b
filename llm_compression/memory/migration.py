"""migrate: brings the rows of the system before this one over."""

from pathlib import Path

import pyarrow as pa

from llm_compression.errors import InputError, StorageError, StorageNotFoundError
from llm_compression.files.paths import user_path
from llm_compression.memory.multimodal_storage import MultimodalStorage
from llm_compression.memory.storage.predecessor import predecessor_files, read_predecessor


def migrate(
    source: str | Path,
    target: str | Path,
    *,
    dtype: str = "float16",
    several_models: bool = False,
    duplicates: str = "error",
) -> dict[str, int]:
    """Store the rows of an old dataset in a new folder, and say how many of each modality.

    The old files stay as they are. Each modality comes over as a whole or not at all, and after
    a kill the same call goes on.

    Args:
        source: a folder with ``vision/embeddings.parquet`` and its like.
        target: the folder of a `MultimodalStorage`.
        dtype: how to store; the old system stored float16, which loses nothing more.
        several_models: take rows of several models, of which each finds only its like.
        duplicates: ids that stand twice, which the old system let pass, are an ``error``, or the
            ``last`` row counts.

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
    if duplicates not in ("error", "last"):
        raise InputError(f"duplicates {duplicates!r} is not one of error, last")
    tables = {name: _unique(read_predecessor(old, name), name, duplicates) for name in files}
    for name, table in tables.items():
        _check_models(table, name, several_models=several_models)
    storage = MultimodalStorage(new, dtype=dtype, several_models=several_models)
    return {name: storage.store_table(name, table, replace=True) for name, table in tables.items()}


def _unique(table: pa.Table, modality: str, duplicates: str) -> pa.Table:
    ids = table["embedding_id"].to_pylist()
    last = {one: row for row, one in enumerate(ids)}
    if len(last) == len(ids):
        return table
    if duplicates == "error":
        twice = next(one for row, one in enumerate(ids) if last[one] != row)
        raise StorageError(
            f"id {twice!r} stands twice among {modality}; duplicates='last' keeps the last of each"
        )
    return table.take(pa.array(sorted(last.values())))


def _check_models(table: pa.Table, modality: str, *, several_models: bool) -> None:
    models = table["model"].unique().to_pylist()
    if len(models) > 1 and not several_models:
        raise StorageError(
            f"rows of {modality} are of models {models}, whose vectors cannot be compared; "
            "several_models=True keeps them apart in one dataset"
        )
