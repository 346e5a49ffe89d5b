"""Compaction: many small fragments become few large ones, and dead rows go.

The long part, reading and writing rows, holds no lock that other writers want. Rows that they
delete meanwhile are dead in the new fragment too.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from llm_compression.errors import DamagedStorageError, OutputError
from llm_compression.files.atomic import output_errors
from llm_compression.files.durable import locked, sync_folder
from llm_compression.memory.storage.dataset import (
    COMPACTING,
    DRAFT,
    Change,
    Dataset,
    max_rows,
    new_name,
)
from llm_compression.memory.storage.fragment import Fragment, FragmentGoneError
from llm_compression.memory.storage.manifest import DATA, read_bytes
from llm_compression.memory.storage.snapshot import Snapshot

FAN_IN = 8  # fragments of one size class that are merged when they stand side by side
Group = Sequence[Fragment]


class NotMergedWarning(UserWarning):
    """Automatic compaction failed; rows are as they were, in more files than need be."""


def compact(dataset: Dataset, *, everything: bool) -> int:
    """Merge fragments until nothing is due, and say how many merges that took.

    Args:
        dataset: whose fragments.
        everything: also what automatic compaction leaves, so that each fragment is as large as
            may be and no dead row is left. It waits for a compaction that is going on, where
            otherwise that one is enough.

    Raises:
        DamagedStorageError: a fragment is damaged; what was merged before stays.
        OutputError: the disk is full, or the folder cannot be written.
    """
    choose = _all_groups if everything else due
    merges = 0
    if read_bytes(dataset.folder) is None:
        return merges
    with (
        output_errors(dataset.folder),
        locked(dataset.folder / COMPACTING, wait=everything) as free,
    ):
        while free and (group := next(choose(dataset.snapshot().fragments), None)):
            merges += _merge(dataset, group)
    if everything:
        dataset.sweep()
    return merges


def after_step(work: Callable[[], object]) -> None:
    """Do what may follow a step that is done, which no failure here may deny: it only warns."""
    try:
        work()
    except (OutputError, DamagedStorageError) as error:
        message = f"what was asked for is done, but files were not merged: {error}"
        warnings.warn(message, NotMergedWarning, stacklevel=4)


def due(fragments: Sequence[Fragment]) -> Iterator[Group]:
    """What automatic compaction merges: many small neighbours, or one that is half dead.

    A size class is eight times as large as the one below, and a row is written again about once
    for each class. Neighbours up to a class are merged where they make one of the next, or are
    too many.
    """
    for of_one_kind in _kinds(fragments):
        limit = max_rows(of_one_kind[0].identity.dimension) // 2
        for size in range(_class(limit) + 1):
            for run in _runs(of_one_kind, lambda f: _class(f.entry.live) <= size, limit):  # noqa: B023
                rows = sum(fragment.entry.live for fragment in run)
                enough = _class(rows) > size or len(run) >= FAN_IN * (size + 1)
                if len(run) >= FAN_IN and enough:
                    yield from (group for group in _groups(run) if len(group) > 1)
    for fragment in fragments:
        if 2 * fragment.entry.live <= fragment.entry.file.rows:
            yield [fragment]


def _all_groups(fragments: Sequence[Fragment]) -> Iterator[Group]:
    for of_one_kind in _kinds(fragments):
        for group in _groups(of_one_kind):
            if len(group) > 1 or group[0].entry.deleted:
                yield group


def _class(rows: int) -> int:
    return (max(1, rows).bit_length() - 1) // 3


def _kinds(fragments: Sequence[Fragment]) -> list[Group]:
    """Fragments that could be one, as their vectors are alike, in order."""
    kinds: dict[object, list[Fragment]] = {}
    for fragment in fragments:
        kinds.setdefault((fragment.identity, fragment.entry.dtype), []).append(fragment)
    return list(kinds.values())


def _runs(
    fragments: Sequence[Fragment], small: Callable[[Fragment], bool], limit: int
) -> Iterator[Group]:
    """Neighbours that are all small, and none above ``limit`` rows."""
    run: list[Fragment] = []
    for fragment in fragments:
        if small(fragment) and fragment.entry.live <= limit:
            run.append(fragment)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _groups(run: Group) -> Iterator[Group]:
    """A run in parts that one fragment each can hold."""
    left = run
    while left:
        group = _fitting(left)
        left = left[len(group) :]
        yield group


def _fitting(run: Group) -> Group:
    """The first of a run that one fragment can hold, at least one."""
    totals = np.cumsum([fragment.entry.live for fragment in run])
    return run[: max(1, int((totals <= max_rows(run[0].identity.dimension)).sum()))]


def _merge(dataset: Dataset, group: Group) -> int:
    """Merge one group; 0 where another process changed it meanwhile."""
    name = new_name()
    draft = dataset.folder / DATA / (name + DRAFT)
    try:
        kept = [fragment.live for fragment in group]
        rows = (table for f, live in zip(group, kept, strict=True) for table in f.batches(live))
        entry = dataset.write(rows, group[0].identity, group[0].entry.dtype, draft.name)
    except FragmentGoneError:
        return 0
    with dataset.writing() as snapshot:
        draft.rename(dataset.folder / DATA / name)
        sync_folder(dataset.folder / DATA)
        merged = Fragment(dataset.folder, entry, group[0].identity)
        entry = dataset.with_dead(merged, _died(snapshot, group, kept))
        names = tuple(fragment.path.name for fragment in group)
        dataset.commit(snapshot, Change([(entry, group[0].identity)], replaced=names))
    return 1


def _died(snapshot: Snapshot, group: Group, kept: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of the merged fragment that were deleted while it was written."""
    now = {fragment.path.name: fragment for fragment in snapshot.fragments}
    dead, start = [], 0
    for fragment, live in zip(group, kept, strict=True):
        latest = now.get(fragment.path.name)
        gone = ~np.isin(live, latest.live) if latest else np.ones(len(live), bool)
        dead.append(np.flatnonzero(gone) + start)
        start += len(live)
    return np.concatenate(dead)
