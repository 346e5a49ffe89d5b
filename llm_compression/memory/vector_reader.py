"""VectorReader: finds stored rows by what is known of them, and by vectors that are like theirs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llm_compression.errors import InputError
from llm_compression.files.paths import user_path
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.modalities import MODALITIES, check_modality
from llm_compression.memory.search.options import Match, SearchOptions
from llm_compression.memory.search.searcher import Searcher, as_queries
from llm_compression.memory.storage.dataset import Dataset
from llm_compression.memory.storage.layout import EMBEDDING, SCALE
from llm_compression.memory.storage.predecessor import refuse_predecessor
from llm_compression.memory.storage.selection import identity_in, joined, select, shown, visible
from llm_compression.memory.storage.stats import Damage, DatasetStats, damages, stats_of
from llm_compression.multimodal.inputs import check_choice


class VectorReader:
    """The datasets of a folder, for reading.

    Args:
        path: the folder; where nothing is stored, nothing is found.
        several_models: whether writers may mix vectors of different models.
        on_damage: ``raise`` stops at a damaged file; ``skip`` leaves its rows out and warns.

    Raises:
        InputError: an option that cannot be.
        StorageError: the folder is of an earlier system.
    """

    def __init__(
        self, path: str | Path, *, several_models: bool = False, on_damage: str = "raise"
    ) -> None:
        check_choice(on_damage, "on_damage", ("raise", "skip"))
        self.path, skip = user_path(path).absolute(), on_damage == "skip"
        refuse_predecessor(self.path)
        self._datasets = {
            name: Dataset(self.path / name, name, several_models=several_models, skip_damaged=skip)
            for name in MODALITIES
        }
        self._searchers = {
            name: Searcher(of, skip_damaged=skip) for name, of in self._datasets.items()
        }

    def dataset(self, modality: str) -> Dataset:
        """The rows of one modality.

        Raises:
            InputError: there is no such modality.
        """
        check_modality(modality)
        return self._datasets[modality]

    def query(
        self,
        modality: str,
        *,
        embedding_ids: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        kind: str | None = None,
        model: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002  the field's word
        columns: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """Rows that meet all conditions; ``embedding`` is float32.

        They come in the order of storing; where a dataset has several identities or dtypes, that
        holds among the rows of each.

        Args:
            modality: whose dataset.
            embedding_ids: rows of these ids; those that are not stored are left out.
            sources: rows made from one of these.
            kind: in ``clip``, rows made from ``text`` or ``image``.
            model: rows of this model, by name or fingerprint.
            since: rows not older than this; ``until`` likewise.
            until: see ``since``.
            filter: by columns and metadata, as ``{"speaker": "ann", "year": {"$gte": 2020}}``.
            columns: by default all; at least one.
            limit: at most so many rows, the first ones.

        Raises:
            InputError: a condition that cannot be.
            DamagedStorageError: bytes are not those that were written.
            StorageError: the rows are of different widths; ask for one model.
        """
        dataset = self.dataset(modality)
        limit = None if limit is None else _limit(limit)
        selection = select(
            modality,
            embedding_ids=embedding_ids,
            sources=sources,
            kind=kind,
            model=model,
            since=since,
            until=until,
            given=filter,
        )
        wanted = visible(modality, columns)
        stored = [*wanted, SCALE] if EMBEDDING in wanted else wanted
        parts = dataset.reading(lambda version: version.table(selection, stored, limit))
        return joined([shown(part, wanted) for part in parts], modality, wanted)

    def count(self, modality: str) -> int:
        """Rows of a modality."""
        return len(self.dataset(modality).snapshot())

    def identities(self, modality: str) -> tuple[VectorIdentity, ...]:
        """How the vectors of a modality were made; one identity unless several are allowed."""
        return self.dataset(modality).snapshot().identities

    def search(
        self,
        queries: object,
        modality: str = "text",
        top_k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002  the field's word
        threshold: float | None = None,
        embedding_ids: Sequence[str] | None = None,
        kind: str | None = None,
        model: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        metric: str = "cosine",
        method: str = "exact",
        dim: int | None = None,
        oversample: int | None = None,
        identity: VectorIdentity | None = None,
    ) -> list[Match] | list[list[Match]]:
        """Rows most like a vector, best first; a list of such lists for (m, d) vectors.

        The first search of a file makes its uncompressed, memory-mapped twin, which later ones
        share, other processes too.

        Args:
            queries: (d,) or (m, d) floats, made as the stored vectors were.
            modality: whose dataset.
            top_k: matches of each query.
            filter: rows that may be found, as in `query`.
            threshold: leave out what scores less.
            embedding_ids: rows that may be found, as are those of ``kind``, ``model``, ``since``
                and ``until``, all as in `query`.
            kind: see ``embedding_ids``.
            model: see ``embedding_ids``.
            since: see ``embedding_ids``.
            until: see ``embedding_ids``.
            metric: ``cosine`` or ``dot``.
            method: ``exact`` compares with every row in float32; ``int8`` and ``binary`` compare
                with every row in few bits, then score the best again in float32; ``approximate``
                asks the index of `VectorStorage.build_index`, and scores again too; it may miss
                rows, most of all where thousands are parallel (``docs/search.md``).
            dim: compare the first values only, as Matryoshka models are trained for; ``exact``
                alone.
            oversample: candidates of a first pass for each match; None takes what is enough for
                recall 0.99 (``approximate`` 0.95) in the benchmarks.
            identity: of the query, where its model is known; rows made so are searched.

        Raises:
            InputError: a query or an option that cannot be.
            IdentityMismatchError: the vectors there were made differently; names both sides.
            StorageError: there are several kinds of vectors, and no identity says which.
            MissingDependencyError: ``approximate`` without usearch.
        """
        check_modality(modality)
        options = SearchOptions(
            top_k=top_k,
            threshold=threshold,
            metric=metric,
            method=method,
            dim=dim,
            oversample=oversample,
            identity=None if identity is None else identity_in(modality, identity),
            selection=select(
                modality,
                embedding_ids=embedding_ids,
                kind=kind,
                model=model,
                since=since,
                until=until,
                given=filter,
            ),
        )
        given, single = as_queries(queries)
        found = self._searchers[modality].search(given, options)
        return found[0] if single else found

    def prepare_search(
        self, modality: str, *, method: str = "exact", show_progress: bool | None = None
    ) -> None:
        """Make now what the first search would make; None shows progress for long work.

        Raises:
            DamagedStorageError: a file is damaged, unless ``on_damage="skip"`` leaves such out.
        """
        options = SearchOptions(method=method)
        check_modality(modality)
        self._searchers[modality].prepare(options, show=show_progress)

    def verify(self) -> list[Damage]:
        """Compare every byte with its checksum, and name the files that are damaged."""
        return [found for dataset in self._datasets.values() for found in damages(dataset)]

    def get_storage_stats(self) -> dict[str, DatasetStats]:
        """For each modality rows, files, bytes on disk, models and widths."""
        return {name: stats_of(dataset) for name, dataset in self._datasets.items()}


def _limit(limit: object) -> int:
    if isinstance(limit, (int, np.integer)) and not isinstance(limit, bool) and limit >= 0:
        return int(limit)
    raise InputError(f"limit is {limit!r}; it must be a whole number, 0 or more")
