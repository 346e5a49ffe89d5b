"""Datasets of the system before this one: one ``embeddings.parquet`` for each modality."""

from pathlib import Path

from llm_compression.errors import StorageError
from llm_compression.memory.storage.layout import MODALITIES

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
        if not (path / modality / "manifest.json").exists():
            raise StorageError(
                f"{file} is of an earlier system; llm_compression.migrate({str(path)!r}, target) "
                "brings its rows over"
            )
