"""mem0: `ArrowEmbedder`, and the part of a mem0 configuration that asks for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_compression.adapters.opening import missing, open_as
from llm_compression.engine.arrow_engine import ArrowEngine
from llm_compression.errors import InputError

try:
    from mem0.configs.embeddings.base import BaseEmbedderConfig
    from mem0.embeddings.base import EmbeddingBase
    from mem0.embeddings.configs import EmbedderConfig
    from mem0.utils.factory import EmbedderFactory
except ImportError as error:
    raise missing("mem0ai", "mem0") from error

PROVIDER = "llm_compression"


class ArrowEmbedder(EmbeddingBase):
    """A text model as mem0's embedder.

    Args:
        config: ``model`` is a weight table, checkpoint folder or hub id; ``model_kwargs`` may hold
            ``truncate_dim``, ``batch_size`` and options of ``ArrowEngine.from_pretrained``;
            ``embedding_dims``, where given, must be the width of the vectors, and is set to it.

    Raises:
        InputError: no model, or vectors of another width than ``embedding_dims`` says.
    """

    def __init__(self, config: BaseEmbedderConfig | None = None) -> None:
        super().__init__(config)
        if not self.config.model:
            raise InputError("mem0's embedder names no model; set config.model to a path or hub id")
        options = dict(self.config.model_kwargs)
        self._output = {"truncate_dim": options.pop("truncate_dim", None)}
        self._batch_size = options.pop("batch_size", 32)
        self.engine = open_as(ArrowEngine, self.config.model, **options)
        self.config.embedding_dims = self._width(self.config.embedding_dims)

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        """The vector of one text; that of a query where the action is ``search``.

        Raises:
            InputError: no text, or an action that mem0 does not know.
        """
        found: list[float] = self.embed_batch([text], memory_action)[0]
        return found

    def embed_batch(
        self, texts: Sequence[str], memory_action: str | None = "add"
    ) -> list[list[float]]:
        """One vector for each text; as `embed`."""
        if memory_action not in (None, "add", "search", "update"):
            raise InputError(f"memory_action {memory_action!r} is not one of add, search, update")
        queries = memory_action == "search"
        encode = self.engine.encode_query if queries else self.engine.encode_document
        found: list[list[float]] = encode(
            texts, batch_size=self._batch_size, **self._output
        ).tolist()
        return found

    def _width(self, stated: int | None) -> int:
        width: int = self._output["truncate_dim"] or self.engine.get_embedding_dimension()
        if stated not in (None, width):
            raise InputError(
                f"embedding_dims is {stated}, but the vectors of {self.engine.path.name} are "
                f"{width} wide; leave embedding_dims out, or set model_kwargs['truncate_dim']"
            )
        return width


def embedder(model: str | Path, **model_kwargs: Any) -> EmbedderConfig:
    """The value of ``embedder`` in a configuration of ``mem0.Memory``; it makes mem0 know us.

    mem0 checks names of providers against a list of its own, so this is a finished part.

    Args:
        model: a weight table, checkpoint folder or hub id.
        model_kwargs: as `ArrowEmbedder` takes them.
    """
    EmbedderFactory.provider_to_class[PROVIDER] = f"{__name__}.{ArrowEmbedder.__name__}"
    config = {"model": str(model), "model_kwargs": model_kwargs}
    return EmbedderConfig.model_construct(provider=PROVIDER, config=config)
