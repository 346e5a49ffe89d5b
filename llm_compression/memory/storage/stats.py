"""What a dataset holds, and which of its files are damaged."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llm_compression.errors import DamagedStorageError
from llm_compression.memory.storage.dataset import SIDECARS, Dataset
from llm_compression.memory.storage.fragment import Fragment, FragmentGoneError
from llm_compression.memory.storage.manifest import MANIFEST, StoredFile


@dataclass(frozen=True)
class Damage:
    """A file whose bytes are not those that were written, or that is gone, and what is wrong."""

    modality: str
    path: str
    reason: str


@dataclass(frozen=True)
class DatasetStats:
    """Rows, files and bytes of one modality.

    ``rows`` are live; ``deleted`` are dead ones that compaction will drop. ``search_bytes`` are of
    files that searches made and that can be made again.
    """

    rows: int
    deleted: int
    fragments: int
    bytes: int
    search_bytes: int
    step: int
    models: tuple[str, ...]
    dimensions: tuple[int, ...]
    dtypes: tuple[str, ...]


def stats_of(dataset: Dataset) -> DatasetStats:
    """What the dataset holds now."""
    snapshot = dataset.snapshot()
    entries = snapshot.manifest.fragments
    lists = [entry.deleted for entry in entries if entry.deleted]
    return DatasetStats(
        rows=len(snapshot),
        deleted=sum(file.rows for file in lists),
        fragments=len(entries),
        bytes=sum(entry.file.bytes for entry in entries) + sum(file.bytes for file in lists),
        search_bytes=_size_of_sidecars(dataset),
        step=snapshot.manifest.step,
        models=tuple(identity.model for identity in snapshot.identities),
        dimensions=tuple(sorted({identity.dimension for identity in snapshot.identities})),
        dtypes=tuple(sorted({entry.dtype for entry in entries})),
    )


def damages(dataset: Dataset) -> Iterator[Damage]:
    """Files of the dataset that are damaged or gone."""
    try:
        snapshot = dataset.snapshot()
    except DamagedStorageError as error:
        yield Damage(dataset.modality, str(dataset.folder / MANIFEST), str(error))
        return
    for fragment in snapshot.fragments:
        for path, file in fragment.files():
            if reason := _reason(fragment, path, file):
                yield Damage(dataset.modality, str(path), reason)


def _reason(fragment: Fragment, path: Path, file: StoredFile) -> str:
    """What is wrong with a file of a fragment, or nothing."""
    try:
        fragment.verify(path, file)
    except DamagedStorageError as error:
        return str(error)
    except FragmentGoneError:  # a later version has another in its place
        return ""
    return ""


def _size_of_sidecars(dataset: Dataset) -> int:
    try:
        with os.scandir(dataset.folder / SIDECARS) as found:
            return sum(entry.stat().st_size for entry in found)
    except FileNotFoundError:  # none, or one was removed meanwhile
        return 0
