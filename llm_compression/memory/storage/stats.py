"""What a dataset holds, and which of its files are damaged."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from llm_compression.errors import DamagedStorageError
from llm_compression.memory.storage.dataset import SIDECARS, Dataset
from llm_compression.memory.storage.fragment import Fragment, FragmentGoneError


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
        yield Damage(dataset.modality, str(dataset.folder), str(error))
        return
    for fragment in snapshot.fragments:
        if reason := _reason(dataset, fragment):
            yield Damage(dataset.modality, str(fragment.path), reason)


def _reason(dataset: Dataset, fragment: Fragment) -> str:
    """What is wrong with a fragment, or nothing."""
    try:
        fragment.verify()
    except DamagedStorageError as error:
        return str(error)
    except FragmentGoneError as error:
        named = {entry.file.name for entry in dataset.snapshot().manifest.fragments}
        return f"{error} is gone" if fragment.path.name in named else ""  # compaction replaced it
    return ""


def _size_of_sidecars(dataset: Dataset) -> int:
    try:
        with os.scandir(dataset.folder / SIDECARS) as found:
            return sum(entry.stat().st_size for entry in found)
    except FileNotFoundError:  # none, or one was removed meanwhile
        return 0
