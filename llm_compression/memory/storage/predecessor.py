"""Datasets of the system before this one: one ``embeddings.parquet`` for each modality."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llm_compression.errors import StorageError, StorageNotFoundError
from llm_compression.memory.modalities import MODALITIES, check_modality
from llm_compression.memory.storage.layout import EMBEDDING, SOURCES
from llm_compression.memory.storage.manifest import MANIFEST

_FILE = "embeddings.parquet"


def predecessor_files(path: Path) -> dict[str, Path]:
    """Old files by modality."""
    files = {modality: path / modality / _FILE for modality in MODALITIES}
    return {modality: file for modality, file in files.items() if file.is_file()}


def refuse_predecessor(path: Path) -> None:
    """Refuse a folder whose rows are all in the old layout, as they would seem to be gone.

    Raises:
        StorageError: says how to migrate.
    """
    for modality, file in predecessor_files(path).items():
        if not (path / modality / MANIFEST).exists():
            raise StorageError(
                f"{file} is of an earlier system; llm_compression.migrate({str(path)!r}, target) "
                "brings its rows over"
            )


def read_predecessor(path: Path, modality: str) -> pa.Table:
    """The rows of an old dataset, as they are.

    Raises:
        StorageNotFoundError: there is none of this modality.
        StorageError: the file is damaged, or not of that layout.
    """
    check_modality(modality)
    file = predecessor_files(path).get(modality)
    if file is None:
        raise StorageNotFoundError(f"no {_FILE} in {path / modality}; check the path")
    try:
        table = pq.ParquetFile(file).read()
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{file} cannot be read: {error}; restore it from a backup") from error
    wanted = ["embedding_id", SOURCES[modality], EMBEDDING, "model", "timestamp", "metadata"]
    wanted += ["modality"] if modality == "clip" else []
    if missing := [name for name in wanted if name not in table.column_names]:
        raise StorageError(f"{file} has no columns {missing}; it is not of the earlier system")
    return table
