"""An Arrow/Parquet-native embedding engine with its own inference core."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llm_compression.version import __version__

if TYPE_CHECKING:
    from llm_compression.conversion.convert import convert as convert
    from llm_compression.conversion.export import export as export
    from llm_compression.engine.arrow_engine import ArrowEngine as ArrowEngine
    from llm_compression.errors import LLMCompressionError as LLMCompressionError
    from llm_compression.metrics.quantization import EmbeddingRanges as EmbeddingRanges
    from llm_compression.weights.loader import WeightLoader as WeightLoader

# Public names load on first use (PEP 562): importing the package loads neither torch nor pyarrow.
_PUBLIC = {
    "ArrowEngine": "llm_compression.engine.arrow_engine",
    "EmbeddingRanges": "llm_compression.metrics.quantization",
    "LLMCompressionError": "llm_compression.errors",
    "WeightLoader": "llm_compression.weights.loader",
    "convert": "llm_compression.conversion.convert",
    "export": "llm_compression.conversion.export",
}
__all__ = [
    "ArrowEngine",
    "EmbeddingRanges",
    "LLMCompressionError",
    "WeightLoader",
    "__version__",
    "convert",
    "export",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
