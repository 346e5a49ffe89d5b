"""VectorStorage: embeddings with what they are of, in plain Parquet files that lose nothing."""

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from llm_compression.errors import MissingDependencyError, OutputError
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.modalities import MODALITIES
from llm_compression.memory.search.sidecar import SidecarWarning
from llm_compression.memory.storage.compaction import after_step, compact
from llm_compression.memory.storage.dataset import Dataset
from llm_compression.memory.storage.layout import DTYPES
from llm_compression.memory.storage.rows import as_vectors, build, is_unit
from llm_compression.memory.storage.selection import identity_in, in_order, kinds_of, strings
from llm_compression.memory.storage.update import RowChange
from llm_compression.memory.vector_reader import VectorReader
from llm_compression.multimodal.inputs import check_choice

UNNAMED = "unnamed"  # the model of vectors of which nobody says what made them


class VectorStorage(VectorReader):
    """One dataset for each modality: ``text``, ``vision``, ``audio`` and ``clip``.

    What a method has stored, changed or deleted when it returns outlives a kill and a loss of
    power; what it has not returned from is there as a whole or not at all. Processes and threads
    may read and write at once. ``docs/storage.md`` specifies the files.

    Args:
        path: a folder, made when something is stored.
        dtype: how new vectors are stored: ``float32``, ``float16`` (half the size) or ``int8``
            with a scale for each row (a quarter). What is read is float32 in any case.
        several_models: let vectors of different models, or made differently, into one dataset;
            each is only ever compared with its like. Otherwise they are refused.
        on_damage: ``raise`` stops at a damaged file; ``skip`` leaves its rows out and warns.
        auto_compact: merge small files now and then after storing, which bounds their number.

    Raises:
        InputError: an option that cannot be.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        dtype: str = "float32",
        several_models: bool = False,
        on_damage: str = "raise",
        auto_compact: bool = True,
    ) -> None:
        super().__init__(path, several_models=several_models, on_damage=on_damage)
        check_choice(dtype, "dtype", DTYPES)
        self.dtype, self._auto_compact = dtype, auto_compact
        self._reopen: partial[VectorStorage] = partial(
            type(self), self.path, dtype=dtype, several_models=several_models,
            on_damage=on_damage, auto_compact=auto_compact,
        )  # fmt: skip

    def __reduce__(self) -> tuple[object, ...]:
        """By its path and options: another process opens it there."""
        return self._reopen, ()

    def store(
        self,
        modality: str,
        ids: Sequence[str],
        sources: Sequence[str],
        embeddings: object,
        *,
        model: str | None = None,
        identity: VectorIdentity | None = None,
        kinds: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        timestamps: Sequence[datetime | None] | datetime | None = None,
        durations: Sequence[float | None] | None = None,
        replace: bool = False,
    ) -> int:
        """Store rows, all or none, and say how many.

        Args:
            modality: whose dataset.
            ids: what `query`, `update` and `delete` find a row by; unique in the dataset.
            sources: what each was made from: the text, or the path or name of an image or sound.
            embeddings: (n, d) floats.
            model: a name for the model; by default the start of its fingerprint.
            identity: how the vectors were made, as a provider's ``identity`` says. Without it
                the model's name says what they may be compared with, and the first vectors of
                that name whether all have unit length; `VectorIdentity.declared` states both.
            kinds: in ``clip``, what each was made from, ``text`` or ``image``.
            metadata: what JSON can hold, one dict for each row; `query` and `search` filter by it.
            timestamps: by default now; a time without a zone is UTC.
            durations: seconds, of sounds.
            replace: put rows in the place of those with the same id, instead of refusing them.

        Raises:
            InputError: a value that cannot be; names the row.
            IdentityMismatchError: the vectors there were made differently; names both sides.
            DuplicateIdError: an id is stored already, or stands twice.
            OutputError: the disk is full, or the folder cannot be written.
        """
        dataset = self.dataset(modality)
        ids = in_order(ids, "ids")
        vectors = as_vectors(embeddings, len(ids))
        (model,) = strings([model], "model") if model else (None,)
        made = identity_in(
            modality,
            self._declared(modality, model or UNNAMED, vectors) if identity is None else identity,
        )
        rows = build(
            made,
            self.dtype,
            ids=ids,
            sources=sources,
            vectors=vectors,
            kinds=kinds_of(modality, kinds, len(ids)),
            model=model or made.model[:12],
            metadata=metadata,
            timestamps=timestamps,
            durations=durations,
        )
        stored = dataset.append(rows, replace_same=replace)
        self._tidy(dataset)
        return stored

    def delete(
        self, modality: str, embedding_ids: Sequence[str], *, missing_ok: bool = False
    ) -> int:
        """Delete rows, all or none, and say how many.

        Raises:
            UnknownIdError: one is not stored, and ``missing_ok`` is false.
        """
        dataset = self.dataset(modality)
        deleted = dataset.delete(strings(embedding_ids, "ids"), missing_ok=missing_ok)
        self._tidy(dataset)
        return deleted

    def update(
        self,
        modality: str,
        embedding_id: str,
        *,
        embedding: object = None,
        source: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        timestamp: datetime | None = None,
        duration: float | None = None,
    ) -> None:
        """Change what is given of one row, in one step; what is None stays.

        Raises:
            UnknownIdError: it is not stored.
            IdentityMismatchError: the new vector has another width.
            InputError: a value that cannot be.
        """
        change = RowChange(embedding, source, metadata, timestamp, duration)
        dataset = self.dataset(modality)
        (one,) = strings([embedding_id], "ids")
        dataset.update(one, lambda row, made: change.of(row, made, self.dtype))
        self._tidy(dataset)

    def compact(self, modality: str | None = None) -> int:
        """Merge small files and drop deleted rows; say how many merges that took.

        Safe to kill, and others may read and write meanwhile.
        """
        chosen = MODALITIES if modality is None else (modality,)
        return sum(self._compact(self.dataset(one), everything=True) for one in chosen)

    def build_index(self, modality: str, *, show_progress: bool | None = None) -> int:
        """Let every large file have an approximate index, from now on; say how many were made.

        Files that compaction makes later get theirs with it; what is in no index is compared
        exactly.

        Raises:
            MissingDependencyError: usearch is not installed.
            OutputError: the disk is full, or the folder cannot be written.
            DamagedStorageError: a file is damaged, unless ``on_damage="skip"`` leaves such out.
        """
        dataset = self.dataset(modality)
        searcher = self._searchers[modality]
        made = searcher.build_indexes(check=True, show=show_progress)
        dataset.set_indexed()
        return made

    def _tidy(self, dataset: Dataset) -> None:
        if self._auto_compact:
            after_step(lambda: self._compact(dataset, everything=False))

    def _compact(self, dataset: Dataset, *, everything: bool) -> int:
        """Merge fragments, and give the large ones that come of it their index."""
        merges = compact(dataset, everything=everything)
        if merges:
            self._index_new(dataset)
        return merges

    def _index_new(self, dataset: Dataset) -> None:
        """Index what compaction made; a failure is none of the step before, which is done."""
        if not dataset.snapshot().manifest.indexed:
            return
        try:
            self._searchers[dataset.modality].build_indexes(check=False, show=False)
        except (MissingDependencyError, OutputError) as error:
            message = f"{error}; until there is an index of new files, they are compared exactly"
            warnings.warn(message, SidecarWarning, stacklevel=4)

    def _declared(self, modality: str, model: str, vectors: np.ndarray) -> VectorIdentity:
        """The identity of vectors of a named model; of unit length if they and their like are.

        Zero vectors, as blank texts have, are like either; where they come first, nobody knows.
        """
        loose, unit = (
            VectorIdentity.declared(
                modality, model, vectors.shape[1], normalized=normalized, precision="float32"
            )
            for normalized in (False, True)
        )
        there = self.identities(modality)
        known = unit in there or bool(vectors.any(axis=1).all())
        return unit if known and loose not in there and is_unit(vectors).all() else loose
