"""Snapshot: one whole version of a dataset, for reading."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from llm_compression.errors import DamagedStorageError
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.filters import Filter
from llm_compression.memory.storage.fragment import Fragment
from llm_compression.memory.storage.ids import hash_ids
from llm_compression.memory.storage.manifest import Manifest

T = TypeVar("T")
Rows = np.ndarray


class DamagedFragmentWarning(UserWarning):
    """A fragment is left out because it is damaged."""


@dataclass(frozen=True)
class Selection:
    """Which rows a query wants; None leaves a condition out.

    ``since`` and ``until`` are microseconds since 1970, both included.
    """

    ids: Sequence[str] | None = None
    filter: Mapping[str, Any] | None = None
    since: int | None = None
    until: int | None = None


class Snapshot:
    """The fragments of one version.

    Args:
        folder: the dataset's.
        manifest: the version.
        known: fragments that are open already, by name, to be used again.
        skip_damaged: leave damaged fragments out with a warning instead of failing.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        known: Mapping[str, Fragment],
        *,
        skip_damaged: bool = False,
    ) -> None:
        self.folder, self.manifest, self._skip_damaged = folder, manifest, skip_damaged
        self.fragments = [
            Fragment(folder, entry, manifest.identities[entry.identity], known.get(entry.file.name))
            for entry in manifest.fragments
        ]

    def __len__(self) -> int:
        """Rows that are not deleted."""
        return sum(fragment.entry.live for fragment in self.fragments)

    @property
    def identities(self) -> tuple[VectorIdentity, ...]:
        """How the vectors were made."""
        return self.manifest.identities

    def find(self, ids: Sequence[str]) -> dict[str, tuple[Fragment, int]]:
        """Where those of ``ids`` that are stored stand."""
        hashes, wanted = hash_ids(pa.array(ids, pa.string())), set(ids)
        found: dict[str, tuple[Fragment, int]] = {}
        for fragment in self.fragments:
            nothing: dict[str, int] = {}
            names = self._of(fragment, lambda f: f.find(hashes), nothing)
            found.update({one: (fragment, row) for one, row in names.items() if one in wanted})
        return {one: found[one] for one in ids if one in found}

    def select(self, selection: Selection) -> Iterator[tuple[Fragment, Rows]]:
        """The rows of each fragment that a query wants, ascending."""
        condition = Filter(selection.filter or {})
        of_ids = None if selection.ids is None else self._by_fragment(selection.ids)
        for fragment in self.fragments:
            if not _overlaps(fragment, selection):
                continue
            rows = None if of_ids is None else of_ids.get(fragment.path.name, _NONE)
            kept = self._of(fragment, lambda f: _rows(f, rows, selection, condition), _NONE)  # noqa: B023
            if len(kept):
                yield fragment, kept

    def table(
        self, selection: Selection, columns: Sequence[str] | None = None, limit: int | None = None
    ) -> list[pa.Table]:
        """The rows that a query wants, in the order of storing, a table for each fragment."""
        parts, left = [], limit
        for fragment, rows in self.select(selection):
            wanted = rows if left is None else rows[:left]
            part = self._of(fragment, lambda f: f.table(columns, wanted), None)  # noqa: B023
            if part is not None:
                parts.append(part)
                left = None if left is None else left - len(part)
            if left == 0:
                break
        return parts

    def _by_fragment(self, ids: Sequence[str]) -> dict[str, Rows]:
        found: dict[str, list[int]] = {}
        for fragment, row in self.find(ids).values():
            found.setdefault(fragment.path.name, []).append(row)
        return {name: np.array(sorted(rows), np.int64) for name, rows in found.items()}

    def _of(self, fragment: Fragment, read: Callable[[Fragment], T], otherwise: T) -> T:
        """What is read from a fragment; ``otherwise`` where it is damaged and such are skipped."""
        try:
            return read(fragment)
        except DamagedStorageError as error:
            if not self._skip_damaged:
                raise
            warnings.warn(str(error), DamagedFragmentWarning, stacklevel=4)
            return otherwise


_NONE = np.empty(0, np.int64)


def _overlaps(fragment: Fragment, selection: Selection) -> bool:
    since = selection.since is None or fragment.entry.latest >= selection.since
    return since and (selection.until is None or fragment.entry.earliest <= selection.until)


def _rows(fragment: Fragment, rows: Rows | None, selection: Selection, condition: Filter) -> Rows:
    """Live rows of the fragment that meet all conditions; ``rows`` are live already."""
    kept = fragment.live if rows is None else rows
    timed = selection.since is not None or selection.until is not None
    columns = sorted(condition.columns | ({"timestamp"} if timed else set()))
    if not columns or not len(kept):
        return kept
    table = fragment.table(columns, None if rows is None else kept)
    mask = condition.mask(table) if condition.columns else np.ones(len(table), bool)
    if timed:
        times = table["timestamp"].combine_chunks().cast(pa.int64()).to_numpy()
        mask &= times >= (selection.since if selection.since is not None else times)
        mask &= times <= (selection.until if selection.until is not None else times)
    met: Rows = kept[mask if rows is not None else mask[kept]]
    return met
