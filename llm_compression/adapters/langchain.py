"""LangChain: `ArrowEmbeddings`, for every vector store and retriever of LangChain."""

from pathlib import Path
from typing import Any

from llm_compression.adapters.opening import missing, open_as
from llm_compression.engine.arrow_engine import ArrowEngine

try:
    from langchain_core.embeddings import Embeddings
except ImportError as error:
    raise missing("langchain-core", "langchain") from error


class ArrowEmbeddings(Embeddings):
    """A text model as LangChain's ``Embeddings``.

    The asynchronous methods are LangChain's own: they run these on a thread.

    Args:
        model: a weight table, checkpoint folder or hub id, or an open `ArrowEngine`.
        truncate_dim: keep the first dimensions only.
        batch_size: texts run together.
        options: further ones of ``ArrowEngine.from_pretrained``.
    """

    def __init__(
        self,
        model: str | Path | ArrowEngine,
        *,
        truncate_dim: int | None = None,
        batch_size: int = 32,
        **options: Any,
    ) -> None:
        self.engine = open_as(ArrowEngine, model, **options)
        self.truncate_dim = truncate_dim
        self.batch_size = batch_size

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text, with the model's prompt of documents.

        Raises:
            InputError: an input that is no text.
        """
        found: list[list[float]] = self.engine.encode_document(
            texts, batch_size=self.batch_size, truncate_dim=self.truncate_dim
        ).tolist()
        return found

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query, with the model's prompt of queries; raises as the other."""
        found: list[float] = self.engine.encode_query(text, truncate_dim=self.truncate_dim).tolist()
        return found
