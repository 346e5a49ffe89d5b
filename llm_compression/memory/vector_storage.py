"""VectorStorage: embeddings with what they are of, in plain Parquet files, and their search."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llm_compression.errors import InputError
from llm_compression.files.paths import user_path
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.compaction import compact
from llm_compression.memory.storage.dataset import Dataset
from llm_compression.memory.storage.layout import (
    DTYPES,
    EMBEDDING,
    MODALITIES,
    SCALE,
    check_modality,
)
from llm_compression.memory.storage.predecessor import refuse_predecessor
from llm_compression.memory.storage.rows import as_vectors, build, is_unit
from llm_compression.memory.storage.selection import (
    joined,
    kinds_of,
    select,
    shown,
    strings,
    visible,
)
from llm_compression.memory.storage.stats import Damage, DatasetStats, damages, stats_of
from llm_compression.memory.storage.update import RowChange

UNNAMED = "unnamed"  # the model of vectors of which nobody says what made them


class VectorStorage:
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
        if dtype not in DTYPES:
            raise InputError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
        if on_damage not in ("raise", "skip"):
            raise InputError(f"on_damage {on_damage!r} is not one of raise, skip")
        self.path, self.dtype = user_path(path), dtype
        self._auto_compact = auto_compact
        self._datasets = {
            modality: Dataset(
                self.path / modality,
                modality,
                several_models=several_models,
                skip_damaged=on_damage == "skip",
            )
            for modality in MODALITIES
        }
        refuse_predecessor(self.path)

    def dataset(self, modality: str) -> Dataset:
        """The rows of one modality.

        Raises:
            InputError: there is no such modality.
        """
        check_modality(modality)
        return self._datasets[modality]

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
                the name alone says what they may be compared with.
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
        ids = strings(ids, "ids")
        vectors = as_vectors(embeddings, len(ids))
        made = identity or self._declared(modality, model or UNNAMED, vectors)
        if made.modality != modality:
            raise InputError(
                f"vectors of modality {made.modality!r} do not belong into {modality!r}"
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
        """Rows that meet all conditions, in the order of storing; ``embedding`` is float32.

        Args:
            modality: whose dataset.
            embedding_ids: rows of these ids; those that are not stored are left out.
            sources: rows made from one of these.
            kind: in ``clip``, rows made from ``text`` or ``image``.
            model: rows of this model, by name or fingerprint.
            since: rows not older than this; ``until`` likewise.
            until: see ``since``.
            filter: by columns and metadata, as ``{"speaker": "ann", "year": {"$gte": 2020}}``.
            columns: by default all.
            limit: at most so many rows, the first ones.

        Raises:
            InputError: a condition that cannot be.
            DamagedStorageError: bytes are not those that were written.
            StorageError: the rows are of different widths; ask for one model.
        """
        dataset = self.dataset(modality)
        if limit is not None and limit < 0:
            raise InputError(f"limit is {limit}; it must not be negative")
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
            InputError: a value that cannot be.
        """
        change = RowChange(embedding, source, metadata, timestamp, duration)
        dataset = self.dataset(modality)
        dataset.update(embedding_id, lambda row, made: change.of(row, made, self.dtype))
        self._tidy(dataset)

    def compact(self, modality: str | None = None) -> int:
        """Merge small files and drop deleted rows; say how many merges that took.

        Safe to kill, and others may read and write meanwhile.
        """
        chosen = MODALITIES if modality is None else (modality,)
        return sum(compact(self.dataset(one), everything=True) for one in chosen)

    def verify(self) -> list[Damage]:
        """Compare every byte with its checksum, and name the files that are damaged."""
        return [found for dataset in self._datasets.values() for found in damages(dataset)]

    def get_storage_stats(self) -> dict[str, DatasetStats]:
        """For each modality rows, files, bytes on disk, models and widths."""
        return {name: stats_of(dataset) for name, dataset in self._datasets.items()}

    def _tidy(self, dataset: Dataset) -> None:
        if self._auto_compact:
            compact(dataset, everything=False)

    def _declared(self, modality: str, model: str, vectors: np.ndarray) -> VectorIdentity:
        """The identity of vectors of a named model; of unit length if they and their like are."""
        unit = bool(is_unit(vectors).all())
        made = VectorIdentity.declared(
            modality, model, vectors.shape[1], normalized=unit, precision="float32"
        )
        loose = VectorIdentity.declared(
            modality, model, vectors.shape[1], normalized=False, precision="float32"
        )
        return loose if loose in self.identities(modality) else made
