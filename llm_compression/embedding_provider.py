"""`EmbeddingProvider` and what gives one, under the path by which existing callers import them."""

from llm_compression.memory.providers.arrow_provider import (
    ArrowEngineProvider,
    get_default_provider,
    reset_provider,
)
from llm_compression.memory.providers.provider import (
    EmbeddingProvider,
    EmbeddingProviderProtocol,
)

__all__ = [
    "ArrowEngineProvider",
    "EmbeddingProvider",
    "EmbeddingProviderProtocol",
    "get_default_provider",
    "reset_provider",
]
