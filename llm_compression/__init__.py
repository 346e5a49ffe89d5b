"""An Arrow/Parquet-native embedding engine with its own inference core."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llm_compression.version import __version__

if TYPE_CHECKING:
    from llm_compression.conversion.convert import convert as convert
    from llm_compression.conversion.export import export as export
    from llm_compression.engine.arrow_engine import ArrowEngine as ArrowEngine
    from llm_compression.engine.clip_engine import CLIPEngine as CLIPEngine
    from llm_compression.engine.zero_shot import ClassEmbeddings as ClassEmbeddings
    from llm_compression.errors import LLMCompressionError as LLMCompressionError
    from llm_compression.memory.cache.cache import EmbeddingCache as EmbeddingCache
    from llm_compression.memory.identity import VectorIdentity as VectorIdentity
    from llm_compression.memory.migration import migrate as migrate
    from llm_compression.memory.multimodal_storage import MultimodalStorage as MultimodalStorage
    from llm_compression.memory.providers.arrow_provider import (
        ArrowEngineProvider as ArrowEngineProvider,
    )
    from llm_compression.memory.providers.arrow_provider import (
        get_default_provider as get_default_provider,
    )
    from llm_compression.memory.providers.arrow_provider import reset_provider as reset_provider
    from llm_compression.memory.providers.multimodal_provider import (
        MultimodalEmbeddingProvider as MultimodalEmbeddingProvider,
    )
    from llm_compression.memory.providers.provider import EmbeddingProvider as EmbeddingProvider
    from llm_compression.memory.recovery import recover as recover
    from llm_compression.memory.search.options import Match as Match
    from llm_compression.metrics.quantization import EmbeddingRanges as EmbeddingRanges
    from llm_compression.multimodal.audio.encoder import AudioEncoder as AudioEncoder
    from llm_compression.multimodal.audio.processor import AudioProcessor as AudioProcessor
    from llm_compression.multimodal.text.encoder import TextEncoder as TextEncoder
    from llm_compression.multimodal.vision.encoder import VisionEncoder as VisionEncoder
    from llm_compression.multimodal.vision.processor import ImageProcessor as ImageProcessor
    from llm_compression.weights.loader import WeightLoader as WeightLoader

# Public names load on first use (PEP 562): importing the package loads neither torch nor pyarrow.
_PUBLIC = {
    "ArrowEngine": "llm_compression.engine.arrow_engine",
    "ArrowEngineProvider": "llm_compression.memory.providers.arrow_provider",
    "AudioEncoder": "llm_compression.multimodal.audio.encoder",
    "AudioProcessor": "llm_compression.multimodal.audio.processor",
    "CLIPEngine": "llm_compression.engine.clip_engine",
    "ClassEmbeddings": "llm_compression.engine.zero_shot",
    "EmbeddingCache": "llm_compression.memory.cache.cache",
    "EmbeddingProvider": "llm_compression.memory.providers.provider",
    "EmbeddingRanges": "llm_compression.metrics.quantization",
    "ImageProcessor": "llm_compression.multimodal.vision.processor",
    "LLMCompressionError": "llm_compression.errors",
    "Match": "llm_compression.memory.search.options",
    "MultimodalEmbeddingProvider": "llm_compression.memory.providers.multimodal_provider",
    "MultimodalStorage": "llm_compression.memory.multimodal_storage",
    "TextEncoder": "llm_compression.multimodal.text.encoder",
    "VectorIdentity": "llm_compression.memory.identity",
    "VisionEncoder": "llm_compression.multimodal.vision.encoder",
    "WeightLoader": "llm_compression.weights.loader",
    "convert": "llm_compression.conversion.convert",
    "export": "llm_compression.conversion.export",
    "get_default_provider": "llm_compression.memory.providers.arrow_provider",
    "migrate": "llm_compression.memory.migration",
    "recover": "llm_compression.memory.recovery",
    "reset_provider": "llm_compression.memory.providers.arrow_provider",
}
__all__ = [
    "ArrowEngine",
    "ArrowEngineProvider",
    "AudioEncoder",
    "AudioProcessor",
    "CLIPEngine",
    "ClassEmbeddings",
    "EmbeddingCache",
    "EmbeddingProvider",
    "EmbeddingRanges",
    "ImageProcessor",
    "LLMCompressionError",
    "Match",
    "MultimodalEmbeddingProvider",
    "MultimodalStorage",
    "TextEncoder",
    "VectorIdentity",
    "VisionEncoder",
    "WeightLoader",
    "__version__",
    "convert",
    "export",
    "get_default_provider",
    "migrate",
    "recover",
    "reset_provider",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
