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

    def overlaps(self, fragment: Fragment) -> bool:
        """Whether the fragment has rows of this time."""
        since = self.since is None or fragment.entry.latest >= self.since
        return since and (self.until is None or fragment.entry.earliest <= self.until)


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

    def find(self, ids: Sequence[str], *, every: bool = False) -> dict[str, tuple[Fragment, int]]:
        """Where those of ``ids`` that are stored stand; with ``every`` no fragment is skipped."""
        hashes = hash_ids(pa.array(ids, pa.string()))
        found: dict[str, tuple[Fragment, int]] = {}
        for fragment in self.fragments:
            nothing: dict[str, int] = {}
            names = (
                fragment.find(hashes)
                if every
                else self._of(fragment, lambda f: f.find(hashes), nothing)
            )
            found.update({one: (fragment, row) for one, row in names.items()})
        return {one: found[one] for one in ids if one in found}

    def select(self, selection: Selection) -> Iterator[tuple[Fragment, Rows]]:
        """The rows of each fragment that a query wants, ascending."""
        conditions = Conditions(selection, self.manifest.modality)
        of_ids = None if selection.ids is None else self.by_fragment(selection.ids)
        for fragment in self.fragments:
            if not selection.overlaps(fragment):
                continue
            rows = None if of_ids is None else of_ids.get(fragment.path.name, _NONE)
            kept = self._of(fragment, lambda f: _rows(f, rows, conditions), _NONE)  # noqa: B023
            if len(kept):
                yield fragment, kept

    def table(
        self, selection: Selection, columns: Sequence[str] | None = None, limit: int | None = None
    ) -> list[pa.Table]:
        """The rows that a query wants, a table for each fragment, in their order."""
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

    def by_fragment(self, ids: Sequence[str]) -> dict[str, Rows]:
        """Rows of those of ``ids`` that are stored, ascending, by the name of their fragment."""
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


class Conditions:
    """What a selection asks of a row beside its id, and the columns that tell."""

    def __init__(self, selection: Selection, modality: str) -> None:
        self._filter, self._selection = Filter(selection.filter or {}, modality), selection
        timed = selection.since is not None or selection.until is not None
        self.columns = sorted(self._filter.columns | ({"timestamp"} if timed else set()))
        self.any = timed or bool(selection.filter)  # {"$or": []} has no column, and no row meets it

    def mask(self, table: pa.Table) -> np.ndarray:
        """(n,) bool for a table that has ``columns``."""
        mask = self._filter.mask(table)
        for bound, meets in ((self._selection.since, np.greater_equal),
                             (self._selection.until, np.less_equal)):  # fmt: skip
            if bound is not None:
                times = table["timestamp"].combine_chunks().cast(pa.int64()).to_numpy()
                mask = mask & meets(times, bound)
        return mask


def _rows(fragment: Fragment, rows: Rows | None, conditions: Conditions) -> Rows:
    """Live rows of the fragment that meet the conditions; ``rows`` are live already."""
    kept = fragment.live if rows is None else rows
    if not len(kept):
        return kept
    if not conditions.columns:  # {} wants all of them, {"$or": []} none
        always: Rows = kept[conditions.mask(pa.table({"row": kept}))]
        return always
    table = fragment.table(conditions.columns, None if rows is None else kept)
    mask = conditions.mask(table)
    met: Rows = kept[mask if rows is not None else mask[kept]]
    return met
