"""MultimodalStorage: a memory of texts, images and sounds that embeds what it stores and seeks."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import pyarrow as pa

from llm_compression.errors import InputError
from llm_compression.memory.by_modality import ByModality
from llm_compression.memory.embeds import Embeds, check_provider, embedded
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.inputs import as_list, listed, seconds_of, sources_of
from llm_compression.memory.modalities import check_modality
from llm_compression.memory.search.options import Match
from llm_compression.memory.storage.arrow import (
    arguments,
    as_table,
    by_model,
    check_fingerprints,
    stated_identity,
)
from llm_compression.memory.storage.selection import in_order

if TYPE_CHECKING:
    from typing_extensions import NotRequired, Unpack

Metadata = Mapping[str, Any] | None
_MODALITY = {"text": "text", "image": "vision", "audio": "audio"}


class SearchArguments(TypedDict, total=False):
    """Options of `VectorReader.search`."""

    filter: Mapping[str, Any] | None
    threshold: float | None
    embedding_ids: Sequence[str] | None
    kind: str | None
    model: str | None
    since: datetime | None
    until: datetime | None
    metric: str
    method: str
    dim: int | None
    oversample: int | None
    identity: VectorIdentity | None


class AddColumns(TypedDict):
    """What comes with inputs."""

    sources: Sequence[str]
    ids: Sequence[str] | None
    metadata: Sequence[Metadata] | None
    timestamps: Sequence[datetime | None] | datetime | None
    durations: NotRequired[Sequence[float | None] | None]
    replace: bool


class MultimodalStorage(ByModality):
    """Vectors of texts, images and sounds, one dataset for each modality, in plain Parquet files.

    What a method has stored, changed or deleted when it returns outlives a kill and a loss of
    power; what it has not returned from is there as a whole or not at all. Processes and threads
    may read and write at once. ``docs/storage.md`` specifies the files.

    Args:
        path: a folder, made when something is stored.
        provider: makes vectors of texts, images and sounds; without it vectors alone are taken.
        dtype: how new vectors are stored: ``float32``, ``float16`` (half the size) or ``int8``
            with a scale for each row (a quarter). What is read is float32 in any case.
        several_models: let vectors of different models, or made differently, into one dataset;
            each is only ever compared with its like. Otherwise they are refused.
        on_damage: ``raise`` stops at a damaged file; ``skip`` leaves its rows out and warns.
        auto_compact: merge small files now and then after storing, which bounds their number.

    Raises:
        InputError: an option that cannot be, or a provider without ``identity`` and ``embed``.
        StorageError: the folder is of an earlier system.
    """

    def __init__(
        self,
        path: str | Path,
        provider: Embeds | None = None,
        *,
        dtype: str = "float32",
        several_models: bool = False,
        on_damage: str = "raise",
        auto_compact: bool = True,
    ) -> None:
        super().__init__(
            path,
            dtype=dtype,
            several_models=several_models,
            on_damage=on_damage,
            auto_compact=auto_compact,
        )
        if provider is not None:
            check_provider(provider)
        self.provider = provider
        self._reopen = partial(self._reopen, provider=provider)

    def add_texts(
        self,
        texts: Sequence[str],
        *,
        modality: str = "text",
        ids: Sequence[str] | None = None,
        metadata: Sequence[Metadata] | None = None,
        timestamps: Sequence[datetime | None] | datetime | None = None,
        replace: bool = False,
    ) -> list[str]:
        """Embed and store texts, and give their ids.

        Args:
            texts: each is its own source.
            modality: ``text``, or ``clip`` to search them together with images.
            ids: by default new ones.
            metadata: a dict for each.
            timestamps: by default now.
            replace: put them in the place of rows with the same id.

        Raises:
            InputError: a text that is none, or there is no provider.
            IdentityMismatchError: what is stored was made by another model.
        """
        given = listed("text", texts)
        return self._add(
            modality, "text", given, sources=given, ids=ids, metadata=metadata,
            timestamps=timestamps, replace=replace,
        )  # fmt: skip

    def add_images(
        self,
        images: Sequence[Any],
        *,
        modality: str = "vision",
        sources: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Metadata] | None = None,
        timestamps: Sequence[datetime | None] | datetime | None = None,
        replace: bool = False,
    ) -> list[str]:
        """Embed and store images, as `add_texts`; those that are no paths need ``sources``."""
        given = listed("image", images)
        return self._add(
            modality, "image", given, sources=sources_of(given, sources), ids=ids,
            metadata=metadata, timestamps=timestamps, replace=replace,
        )  # fmt: skip

    def add_sounds(
        self,
        sounds: Sequence[Any],
        *,
        sources: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Metadata] | None = None,
        timestamps: Sequence[datetime | None] | datetime | None = None,
        durations: Sequence[float | None] | None = None,
        replace: bool = False,
    ) -> list[str]:
        """Embed and store sounds, as `add_texts`; those that are no paths need ``sources``.

        ``durations`` are seconds, by default as many as each sound says that it has.
        """
        given = listed("audio", sounds)
        durations = seconds_of(given) if durations is None else durations
        return self._add(
            "audio", "audio", given, sources=sources_of(given, sources), ids=ids, metadata=metadata,
            timestamps=timestamps, durations=durations, replace=replace,
        )  # fmt: skip

    def search(
        self,
        queries: object = None,
        modality: str | None = None,
        top_k: int = 10,
        *,
        text: str | Sequence[str] | None = None,
        image: object = None,
        audio: object = None,
        **options: Unpack[SearchArguments],
    ) -> list[Match] | list[list[Match]]:
        """Rows most like a vector, a text, an image or a sound, best first.

        Args:
            queries: (d,) or (m, d) floats, as `VectorReader.search` takes them; or give one of:
            text: a text, or several for a list of lists; among ``text``, or ``clip`` by modality.
            image: an image, or several; among ``vision``, or ``clip``.
            audio: a sound, or several; among ``audio``.
            modality: whose dataset.
            top_k: matches of each query.
            options: those of `VectorReader.search`; ``identity`` is by default the provider's.

        Raises:
            InputError: a query that cannot be, or there is no provider.
            ModalityUnavailableError: the provider has no model for it.
            IdentityMismatchError: what is stored was made by another model; names both sides.
        """
        given = {"text": text, "image": image, "audio": audio}
        asked = [kind for kind, query in given.items() if query is not None]
        if len(asked) + (queries is not None) != 1:
            raise InputError("give one of a vector, text, image or audio to search for")
        if isinstance(queries, str):
            raise InputError("a text is searched for by text=; queries takes vectors")
        if not asked:
            return super().search(queries, modality or "text", top_k, **options)
        kind = asked[0]
        among = modality or _MODALITY[kind]
        inputs, single = as_list(kind, given[kind])
        vectors = embedded(self._provider, among, kind, inputs, query=True)
        options["identity"] = options.get("identity") or self._provider.identity(among)
        return super().search(vectors[0] if single else vectors, among, top_k, **options)

    def store_table(
        self,
        modality: str,
        table: pa.Table | pa.RecordBatch | pa.RecordBatchReader,
        *,
        replace: bool = False,
    ) -> int:
        """Store the rows of an Arrow table, such as `query` gives, or of batches; say how many.

        Columns ``embedding_id``, the modality's source (``text_id``, ``image_id``, ``audio_id``,
        ``source_id``) and ``embedding`` must be there; ``model``, ``modality``, ``timestamp``,
        ``duration_seconds`` and ``metadata`` may be. Rows of one model come in all or none.

        Raises:
            InputError: a column or a value that cannot be; names it.
            IdentityMismatchError: rows were made otherwise than the table's metadata says.
        """
        check_modality(modality)
        table = as_table(table)
        identity = stated_identity(table)
        check_fingerprints(table, identity)
        return sum(
            self.store(
                modality,
                **arguments(rows, modality),
                model=model,
                identity=identity,
                replace=replace,
            )
            for model, rows in by_model(table)
        )

    @property
    def _provider(self) -> Embeds:
        if self.provider is None:
            raise InputError(
                "this storage has no provider to embed with; open it with "
                "MultimodalStorage(path, MultimodalEmbeddingProvider(...)), or give vectors"
            )
        return self.provider

    def _add(
        self, modality: str, kind: str, inputs: list[Any], **columns: Unpack[AddColumns]
    ) -> list[str]:
        names = columns["ids"]
        ids = [uuid.uuid4().hex for _ in inputs] if names is None else in_order(names, "ids")
        self.store(
            modality,
            ids,
            columns["sources"],
            embedded(self._provider, modality, kind, inputs),
            identity=self._provider.identity(modality),
            kinds=[kind] * len(ids),
            metadata=columns["metadata"],
            timestamps=columns["timestamps"],
            durations=columns.get("durations"),
            replace=columns["replace"],
        )
        return ids
