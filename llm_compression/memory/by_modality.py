"""ByModality: the methods that name a modality, as memory systems call them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pyarrow as pa

from llm_compression.errors import InputError
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.rows import as_array
from llm_compression.memory.vector_storage import VectorStorage

if TYPE_CHECKING:
    from typing_extensions import Unpack

Metadata = Mapping[str, Any] | None


class StoreOptions(TypedDict, total=False):
    """Options of `VectorStorage.store`; ``timestamps`` may be one for all rows."""

    timestamps: Sequence[datetime | None] | datetime | None
    identity: VectorIdentity | None
    replace: bool


class QueryOptions(TypedDict, total=False):
    """Further options of `VectorReader.query`."""

    model: str | None
    since: datetime | None
    until: datetime | None
    filter: Mapping[str, Any] | None
    columns: Sequence[str] | None


class ByModality(VectorStorage):
    """`store` and `query` with a method for each modality.

    The single forms take a vector (d,), the plural ones lists and (n, d). They raise what `store`
    and `query` raise.
    """

    def store_text_embedding(
        self,
        embedding_id: str,
        text_id: str,
        embedding: object,
        model: str | None = None,
        metadata: Metadata = None,
        **options: Unpack[StoreOptions],
    ) -> None:
        """Store the vector of a text; ``text_id`` is the text, or what refers to it."""
        vector, about = _vector(embedding), [metadata]
        self.store_text_embeddings([embedding_id], [text_id], vector, model, about, **options)

    def store_text_embeddings(
        self,
        embedding_ids: Sequence[str],
        text_ids: Sequence[str],
        embeddings: object,
        model: str | None = None,
        metadata: Sequence[Metadata] | None = None,
        **options: Unpack[StoreOptions],
    ) -> int:
        """Store the vectors of texts, all or none."""
        return self.store(
            "text", embedding_ids, text_ids, embeddings, model=model, metadata=metadata, **options
        )

    def store_vision_embedding(
        self,
        embedding_id: str,
        image_id: str,
        embedding: object,
        model: str | None = None,
        metadata: Metadata = None,
        **options: Unpack[StoreOptions],
    ) -> None:
        """Store the vector of an image; ``image_id`` is its path or name."""
        vector, about = _vector(embedding), [metadata]
        self.store_vision_embeddings([embedding_id], [image_id], vector, model, about, **options)

    def store_vision_embeddings(
        self,
        embedding_ids: Sequence[str],
        image_ids: Sequence[str],
        embeddings: object,
        model: str | None = None,
        metadata: Sequence[Metadata] | None = None,
        **options: Unpack[StoreOptions],
    ) -> int:
        """Store the vectors of images, all or none."""
        return self.store(
            "vision",
            embedding_ids,
            image_ids,
            embeddings,
            model=model,
            metadata=metadata,
            **options,
        )

    def store_audio_embedding(  # noqa: PLR0917  the contract's order
        self,
        embedding_id: str,
        audio_id: str,
        embedding: object,
        model: str | None = None,
        duration_seconds: float | None = None,
        metadata: Metadata = None,
        **options: Unpack[StoreOptions],
    ) -> None:
        """Store the vector of a sound; ``audio_id`` is its path or name."""
        vector, lasts, about = _vector(embedding), [duration_seconds], [metadata]
        self.store_audio_embeddings(
            [embedding_id], [audio_id], vector, model, lasts, about, **options
        )

    def store_audio_embeddings(  # noqa: PLR0917  the contract's order
        self,
        embedding_ids: Sequence[str],
        audio_ids: Sequence[str],
        embeddings: object,
        model: str | None = None,
        duration_seconds: Sequence[float | None] | None = None,
        metadata: Sequence[Metadata] | None = None,
        **options: Unpack[StoreOptions],
    ) -> int:
        """Store the vectors of sounds, all or none."""
        return self.store(
            "audio",
            embedding_ids,
            audio_ids,
            embeddings,
            model=model,
            durations=duration_seconds,
            metadata=metadata,
            **options,
        )

    def store_clip_embedding(  # noqa: PLR0917  the contract's order
        self,
        embedding_id: str,
        source_id: str,
        modality: str,
        embedding: object,
        model: str | None = None,
        metadata: Metadata = None,
        **options: Unpack[StoreOptions],
    ) -> None:
        """Store a vector of CLIP; ``modality``, ``text`` or ``image``, is what it was made from."""
        vector, about = _vector(embedding), [metadata]
        self.store_clip_embeddings(
            [embedding_id], [source_id], [modality], vector, model, about, **options
        )

    def store_clip_embeddings(  # noqa: PLR0917  the contract's order
        self,
        embedding_ids: Sequence[str],
        source_ids: Sequence[str],
        modalities: Sequence[str],
        embeddings: object,
        model: str | None = None,
        metadata: Sequence[Metadata] | None = None,
        **options: Unpack[StoreOptions],
    ) -> int:
        """Store vectors of CLIP, all or none."""
        return self.store(
            "clip",
            embedding_ids,
            source_ids,
            embeddings,
            kinds=modalities,
            model=model,
            metadata=metadata,
            **options,
        )

    def query_text_embeddings(
        self,
        embedding_ids: Sequence[str] | None = None,
        text_ids: Sequence[str] | None = None,
        limit: int | None = None,
        **options: Unpack[QueryOptions],
    ) -> pa.Table:
        """Rows of texts."""
        return self.query(
            "text", embedding_ids=embedding_ids, sources=text_ids, limit=limit, **options
        )

    def query_vision_embeddings(
        self,
        embedding_ids: Sequence[str] | None = None,
        image_ids: Sequence[str] | None = None,
        limit: int | None = None,
        **options: Unpack[QueryOptions],
    ) -> pa.Table:
        """Rows of images."""
        return self.query(
            "vision", embedding_ids=embedding_ids, sources=image_ids, limit=limit, **options
        )

    def query_audio_embeddings(
        self,
        embedding_ids: Sequence[str] | None = None,
        audio_ids: Sequence[str] | None = None,
        limit: int | None = None,
        **options: Unpack[QueryOptions],
    ) -> pa.Table:
        """Rows of sounds."""
        return self.query(
            "audio", embedding_ids=embedding_ids, sources=audio_ids, limit=limit, **options
        )

    def query_clip_embeddings(
        self,
        source_ids: Sequence[str] | None = None,
        modality: str | None = None,
        embedding_ids: Sequence[str] | None = None,
        limit: int | None = None,
        **options: Unpack[QueryOptions],
    ) -> pa.Table:
        """Rows of CLIP, made from ``modality``, ``text`` or ``image``, or from both."""
        return self.query(
            "clip",
            embedding_ids=embedding_ids,
            sources=source_ids,
            kind=modality,
            limit=limit,
            **options,
        )


def _vector(embedding: object) -> np.ndarray:
    """(d,) -> (1, d).

    Raises:
        InputError: it has another number of axes.
    """
    given = as_array(embedding)
    if given.ndim != 1:
        raise InputError(f"one embedding is (d,), not {given.shape}; the plural methods take many")
    return given[None]
