"""LlamaIndex: `ArrowEmbedding` for texts, and `ClipEmbedding` for texts and images."""

import asyncio
from pathlib import Path
from typing import Any

from llm_compression.adapters.opening import missing, open_as
from llm_compression.engine.arrow_engine import ArrowEngine
from llm_compression.engine.clip_engine import CLIPEngine
from llm_compression.multimodal.pretrained import Pretrained

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import Field, PrivateAttr
    from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
except ImportError as error:
    raise missing("llama-index-core", "llama-index") from error

Vector = list[float]


class ArrowEmbedding(BaseEmbedding):
    """A text model as LlamaIndex's ``BaseEmbedding``.

    Args:
        model_name: a weight table, checkpoint folder or hub id, or an open `ArrowEngine`.
        truncate_dim: keep the first dimensions only.
        options: further ones of ``ArrowEngine.from_pretrained``.
        fields: LlamaIndex's own, as ``embed_batch_size``.
    """

    truncate_dim: int | None = Field(default=None, description="Dimensions kept.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the engine.")
    _engine: ArrowEngine = PrivateAttr()

    def __init__(self, model_name: str | Path | ArrowEngine, **fields: Any) -> None:
        super().__init__(model_name=_name(model_name), **fields)
        self._engine = open_as(ArrowEngine, model_name, **self.options)

    @classmethod
    def class_name(cls) -> str:
        """The name that LlamaIndex stores."""
        return "LLMCompressionEmbedding"

    def _get_query_embedding(self, query: str) -> Vector:
        found: Vector = self._engine.encode_query(query, truncate_dim=self.truncate_dim).tolist()
        return found

    def _get_text_embedding(self, text: str) -> Vector:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Vector]:
        found: list[Vector] = self._engine.encode_document(
            texts, batch_size=self.embed_batch_size, truncate_dim=self.truncate_dim
        ).tolist()
        return found

    async def _aget_query_embedding(self, query: str) -> Vector:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> Vector:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Vector]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


class ClipEmbedding(MultiModalEmbedding):
    """A CLIP model as LlamaIndex's ``MultiModalEmbedding``: texts and images in one space.

    Args:
        model_name: a weight table, checkpoint folder or hub id, or an open `CLIPEngine`.
        options: further ones of ``CLIPEngine.from_pretrained``.
        fields: LlamaIndex's own, as ``embed_batch_size``.
    """

    options: dict[str, Any] = Field(default_factory=dict, description="Options of the engine.")
    _engine: CLIPEngine = PrivateAttr()

    def __init__(self, model_name: str | Path | CLIPEngine, **fields: Any) -> None:
        super().__init__(model_name=_name(model_name), **fields)
        self._engine = open_as(CLIPEngine, model_name, **self.options)

    @classmethod
    def class_name(cls) -> str:
        """The name that LlamaIndex stores."""
        return "LLMCompressionClipEmbedding"

    def _get_query_embedding(self, query: str) -> Vector:
        return self._get_text_embedding(query)

    def _get_text_embedding(self, text: str) -> Vector:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Vector]:
        found: list[Vector] = self._engine.encode_text(
            texts, batch_size=self.embed_batch_size
        ).tolist()
        return found

    def _get_image_embedding(self, img_file_path: Any) -> Vector:
        return self._get_image_embeddings([img_file_path])[0]

    def _get_image_embeddings(self, img_file_paths: list[Any]) -> list[Vector]:
        found: list[Vector] = self._engine.encode_image(
            img_file_paths, batch_size=self.embed_batch_size
        ).tolist()
        return found

    async def _aget_query_embedding(self, query: str) -> Vector:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> Vector:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Vector]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_image_embedding(self, img_file_path: Any) -> Vector:
        return await asyncio.to_thread(self._get_image_embedding, img_file_path)

    async def _aget_image_embeddings(self, img_file_paths: list[Any]) -> list[Vector]:
        return await asyncio.to_thread(self._get_image_embeddings, img_file_paths)


def _name(model: Any) -> str:
    """The path or id of a model, from which LlamaIndex can open it again."""
    return str(model.path if isinstance(model, Pretrained) else model)
