"""LanceDB: embedding functions for texts, and for images with CLIP, known to its registry."""

from typing import Any, ClassVar, TypeVar

import numpy as np

from llm_compression.adapters.opening import missing
from llm_compression.engine.arrow_engine import ArrowEngine
from llm_compression.engine.clip_engine import CLIPEngine
from llm_compression.errors import InputError
from llm_compression.multimodal.inputs import as_texts
from llm_compression.multimodal.pretrained import Pretrained
from llm_compression.multimodal.vision.input import as_images

try:
    from lancedb.embeddings import EmbeddingFunction, register
    from pydantic import PrivateAttr
except ImportError as error:
    raise missing("lancedb", "lancedb") from error

P = TypeVar("P", bound=Pretrained)


class _OfModel(EmbeddingFunction):
    """A model by its name, opened on first use; a table keeps the arguments as JSON.

    Args:
        name: a weight table, checkpoint folder or hub id.
        batch_size: inputs run together.
        options: further ones of ``from_pretrained``; a token belongs into HF_TOKEN instead.
        fingerprint: of the model that made a table's vectors; LanceDB stores it with the table.
    """

    kind: ClassVar[type[Pretrained]]
    name: str
    batch_size: int = 32
    options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    fingerprint: str = ""
    _engine: Any = PrivateAttr(default=None)

    def safe_model_dump(self) -> dict[str, Any]:
        """The arguments as LanceDB stores them, and the model's fingerprint.

        Raises:
            InputError: a token is among them.
        """
        if "token" in self.options:
            raise InputError("LanceDB would store the token in the table; set HF_TOKEN instead")
        return {**super().safe_model_dump(), "fingerprint": self._open().fingerprint}

    def compute_source_embeddings_with_retry(self, *inputs: Any) -> list[np.ndarray]:
        """As without: what cannot be embedded now cannot be later."""
        found: list[np.ndarray] = self.compute_source_embeddings(*inputs)
        return found

    def compute_query_embeddings_with_retry(self, *inputs: Any) -> list[np.ndarray]:
        """As without, likewise."""
        found: list[np.ndarray] = self.compute_query_embeddings(*inputs)
        return found

    def _open(self) -> Any:
        if self._engine is None:
            engine = self.kind.from_pretrained(self.name, **self.options)
            if self.fingerprint not in ("", engine.fingerprint):
                raise InputError(
                    f"the table's vectors are of model {self.fingerprint[:12]}, {self.name} is now "
                    f"{engine.fingerprint[:12]}; put that model back, or embed again"
                )
            self._engine = engine
        return self._engine


@register("llm-compression")
class ArrowFunction(_OfModel):
    """Texts to vectors; ``truncate_dim`` keeps the first dimensions only."""

    kind = ArrowEngine
    truncate_dim: int | None = None

    def ndims(self) -> int:
        """Width of a vector."""
        width: int = self.truncate_dim or self._open().get_embedding_dimension()
        return width

    def compute_source_embeddings(self, texts: Any) -> list[np.ndarray]:
        """One vector for each text of a column, with the model's prompt of documents.

        Raises:
            InputError: a value that is no text, as a null is.
        """
        return list(self._open().encode_document(as_texts(self.sanitize_input(texts)), **self._how))

    def compute_query_embeddings(self, query: Any) -> list[np.ndarray]:
        """The vector of a query in a list, with the model's prompt of queries; raises likewise."""
        return list(self._open().encode_query(as_texts(self.sanitize_input(query)), **self._how))

    @property
    def _how(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size, "truncate_dim": self.truncate_dim}


@register("llm-compression-clip")
class ClipFunction(_OfModel):
    """Images to vectors of unit length; a query that is a string is a text, else an image."""

    kind = CLIPEngine

    def ndims(self) -> int:
        """Width of a vector."""
        width: int = self._open().get_embedding_dimension()
        return width

    def compute_source_embeddings(self, images: Any) -> list[np.ndarray]:
        """One vector for each image of a column of paths or bytes.

        Raises:
            InputError: a value that is no image, as a null is.
        """
        sources, _ = as_images(self.sanitize_input(images))
        return list(self._open().encode_image(sources, batch_size=self.batch_size))

    def compute_query_embeddings(self, query: Any) -> list[np.ndarray]:
        """The vector of a text or of an image in a list; raises likewise."""
        if isinstance(query, str):
            return [self._open().encode_text(query)]
        return list(self._open().encode_image(as_images(query)[0]))
