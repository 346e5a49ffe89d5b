"""Searcher: the search of one dataset, and the twins that it has open."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import numpy as np

from llm_compression.errors import (
    DamagedStorageError,
    IdentityMismatchError,
    InputError,
    StorageError,
)
from llm_compression.guard import Guard
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.search.best import Best
from llm_compression.memory.search.index import (
    FragmentIndex,
    build_index,
    expansion,
    open_index,
    usearch,
    wants_index,
)
from llm_compression.memory.search.kernels import WIDEST
from llm_compression.memory.search.matches import matches
from llm_compression.memory.search.options import Match, SearchOptions
from llm_compression.memory.search.part import Part
from llm_compression.memory.search.twin import Twin
from llm_compression.memory.storage.dataset import Dataset
from llm_compression.memory.storage.fragment import Fragment
from llm_compression.memory.storage.layout import SOURCES
from llm_compression.memory.storage.rows import as_array, as_vectors
from llm_compression.memory.storage.snapshot import (
    Conditions,
    DamagedFragmentWarning,
    Snapshot,
)
from llm_compression.metrics.similarity import unit_rows
from llm_compression.multimodal.batching import with_progress
from llm_compression.threads import shared

_LONG = 4  # files from which a terminal sees a progress bar unasked


class Searcher:
    """Searches a dataset; twins stay open from one search to the next.

    Args:
        dataset: whose rows.
        skip_damaged: leave damaged fragments out with a warning instead of failing.
    """

    def __init__(self, dataset: Dataset, *, skip_damaged: bool = False) -> None:
        self._dataset, self._skip_damaged = dataset, skip_damaged
        self._twins: dict[str, Twin] = {}
        self._indexes: dict[int, dict[str, FragmentIndex]] = {}  # by process: they hold locks
        self._guard = Guard()

    def search(self, queries: np.ndarray, options: SearchOptions) -> list[list[Match]]:
        """The best matches of each of (m, d) queries, of `as_queries`, best first.

        Raises:
            InputError: a zero vector, or ``dim`` beyond the width.
            IdentityMismatchError: the vectors there were made differently; names both sides.
            StorageError: there are several kinds of vectors, and none was named.
            MissingDependencyError: ``approximate`` without usearch.
        """
        if options.method == "approximate":
            usearch()
        return self._dataset.reading(lambda version: self._search(version, queries, options))

    def prepare(self, options: SearchOptions, *, show: bool | None) -> None:
        """Make what a search would make."""

        def work(version: Snapshot) -> None:
            fragments = version.fragments
            shown = with_progress(
                fragments, len(fragments), "file", show=show, long=_LONG, size=_one, what="twins"
            )
            for fragment in shown:
                with self._skipping():
                    self._twin(fragment).first_pass(options.method)

        self._dataset.reading(work)

    def build_indexes(self, *, check: bool, show: bool | None) -> int:
        """Make the index of every large fragment that has none, and say how many.

        ``check`` makes those again that are damaged.

        Raises:
            MissingDependencyError: usearch is not installed.
            OutputError: the disk is full, or the folder cannot be written.
        """
        usearch()

        def work(version: Snapshot) -> int:
            due = [fragment for fragment in version.fragments if wants_index(fragment, check=check)]
            made = 0
            for fragment in with_progress(
                due, len(due), "file", show=show, long=_LONG, size=_one, what="indexes"
            ):
                with self._skipping():
                    build_index(self._twin(fragment))
                    made += 1
            return made

        return self._dataset.reading(work)

    def _search(
        self, version: Snapshot, queries: np.ndarray, options: SearchOptions
    ) -> list[list[Match]]:
        if not version.fragments:
            return [[] for _ in queries]
        identity = _identity(version, options, str(self._dataset.folder))
        prepared, factors = _prepared(queries, identity, options)
        parts = list(self._parts(version, identity, options))
        count = sum(part.count for part in parts)
        if not count:
            return [[] for _ in queries]
        best = Best.none(len(prepared), min(options.kept, count))
        for part, some in zip(parts, _asked(prepared, parts, options), strict=True):
            if some is None:
                part.propose(prepared, best, options)
            else:
                part.propose_some(prepared, some, best, options)
        if options.scores_again:
            best = _scored_again(prepared, best, parts, options)
        return matches(best, parts, SOURCES[self._dataset.modality], factors, options.threshold)

    def _parts(
        self, version: Snapshot, identity: VectorIdentity, options: SearchOptions
    ) -> Iterator[Part]:
        """The fragments to search, each with the rows that may be found."""
        conditions = Conditions(options.selection, self._dataset.modality)
        ids = options.selection.ids
        of_ids = None if ids is None else version.by_fragment(ids)
        self._forget(version)
        start = 0
        for fragment in version.fragments:
            if not identity.fits(fragment.identity) or not options.selection.overlaps(fragment):
                continue
            rows = None if of_ids is None else of_ids.get(fragment.path.name, _NONE)
            with self._skipping():
                twin = self._twin(fragment)
                allowed = _allowed(fragment, twin, rows, conditions)
                index = self._index(twin) if options.method == "approximate" else None
                yield Part(twin, index, start, allowed)
                start += len(twin.vectors)

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """Leave out a fragment that is damaged, with a warning, where such are to be skipped."""
        try:
            yield
        except DamagedStorageError as error:
            if not self._skip_damaged:
                raise
            warnings.warn(str(error), DamagedFragmentWarning, stacklevel=4)

    def _twin(self, fragment: Fragment) -> Twin:
        name = fragment.path.name
        with self._guard.lock:
            if name not in self._twins:
                self._twins[name] = Twin(fragment)
            return self._twins[name]

    def _index(self, twin: Twin) -> FragmentIndex | None:
        name = twin.fragment.path.name
        with self._guard.lock:
            opened = self._indexes.setdefault(os.getpid(), {})
            if name not in opened and (found := open_index(twin)):
                opened[name] = found
            return opened.get(name)

    def _forget(self, version: Snapshot) -> None:
        """Close what is of fragments that there are no more."""
        names = {fragment.path.name for fragment in version.fragments}
        with self._guard.lock:
            for opened in (self._twins, self._indexes.get(os.getpid(), {})):
                for name in opened.keys() - names:
                    del opened[name]


def as_queries(queries: Any) -> tuple[np.ndarray, bool]:
    """(d,) or (m, d) floats as (m, d) float32, and whether it was a single one.

    Raises:
        InputError: anything else, or NaN.
    """
    given = as_array(queries)
    if given.dtype.kind not in "fiu" or given.ndim not in (1, 2) or not given.shape[-1]:
        raise InputError(
            f"a query is (d,) floats, several are (m, d), not {given.dtype} of shape {given.shape}"
        )
    given, single = given.astype(np.promote_types(given.dtype, np.float32)), given.ndim == 1
    return as_vectors(given[None] if single else given), single


def _one(_: Fragment) -> int:
    return 1


_NONE = np.empty(0, np.int64)


def _identity(version: Snapshot, options: SearchOptions, where: str) -> VectorIdentity:
    stored = version.identities
    if options.identity is not None:
        if not any(options.identity.fits(one) for one in stored):
            options.identity.check(stored[0], where)
        return options.identity
    if not all(a.fits(b) for a, b in combinations(stored, 2)):
        names = ", ".join(f"{one.model[:12]} ({one.dimension} wide)" for one in stored)
        raise StorageError(f"{where} holds vectors of {names}; say which by identity=")
    return max(stored, key=lambda one: one.pooling)  # the one that states it


def _prepared(
    queries: np.ndarray, identity: VectorIdentity, options: SearchOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Queries cut to ``dim``, with lengths of about 1, and what their scores are multiplied by.

    Cosines ask for unit length. Else the factor is a power of two, so that nothing is rounded.
    """
    if options.dim is not None and options.dim > identity.dimension:
        raise InputError(f"dim is {options.dim}, the vectors are {identity.dimension} wide")
    if options.method == "int8" and identity.dimension > WIDEST:
        raise InputError(
            f"method='int8' adds up {WIDEST} values at most, the vectors are "
            f"{identity.dimension} wide; use another method"
        )
    width = options.dim or identity.dimension
    if queries.shape[1] not in (width, identity.dimension):
        raise IdentityMismatchError(
            f"the query is {queries.shape[1]} wide, the vectors there {identity.dimension}; "
            "use the model that made them"
        )
    cut = queries[:, :width]
    if not cut.any(axis=1).all():
        raise InputError("a query is a zero vector, which is like nothing; a blank text has none")
    exact = cut.astype(np.float64)
    factors: np.ndarray = np.ldexp(1.0, np.frexp(np.linalg.norm(exact, axis=1))[1])
    if options.metric == "cosine":
        exact, factors = unit_rows(exact), np.ones(len(exact))
    else:
        exact /= factors[:, None]
    return np.ascontiguousarray(exact, np.float32), factors


def _allowed(
    fragment: Fragment, twin: Twin, rows: np.ndarray | None, conditions: Conditions
) -> np.ndarray | None:
    """Rows that may be found, (n,) bool; None for all."""
    if rows is None and not len(fragment.dead) and not conditions.any:
        return None
    allowed = np.zeros(len(twin.vectors), bool)
    allowed[fragment.live if rows is None else rows] = True
    if conditions.any:
        allowed &= conditions.mask(twin.table(conditions.columns or ["embedding_id"]))
    return allowed


def _asked(
    queries: np.ndarray, parts: Sequence[Part], options: SearchOptions
) -> Sequence[list[np.ndarray] | None]:
    """What the indexes of the parts find for each query; None for parts without one."""
    indexes = sum(part.index is not None for part in parts)
    if not indexes:
        return [None] * len(parts)
    width = expansion(indexes)
    return shared(lambda part: part.ask(queries, options, width), parts)


def _scored_again(
    queries: np.ndarray, found: Best, parts: Sequence[Part], options: SearchOptions
) -> Best:
    """The candidates of a first pass by their exact scores."""
    best = Best.none(len(queries), min(options.top_k, found.rows.shape[1]))
    ends = [part.start + len(part.twin.vectors) for part in parts[:-1]]
    for i in range(len(queries)):
        rows = np.sort(found.rows[i, found.rows[i] >= 0])
        scores = [
            part.scores(queries[i : i + 1], some - part.start, options)[0]
            for part, some in zip(parts, np.split(rows, np.searchsorted(rows, ends)), strict=True)
            if len(some)
        ]
        best.merge(i, np.concatenate(scores or [best.scores[i, :0]]), rows)
    return best
