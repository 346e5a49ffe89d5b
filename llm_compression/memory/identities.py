"""How open engines and encoders make vectors, each as a VectorIdentity."""

from dataclasses import replace
from typing import TYPE_CHECKING

from llm_compression.memory.identity import VectorIdentity

if TYPE_CHECKING:
    from llm_compression.engine.arrow_engine import ArrowEngine
    from llm_compression.engine.clip_engine import CLIPEngine
    from llm_compression.metrics.quantization import EmbeddingRanges
    from llm_compression.multimodal.audio.encoder import AudioEncoder
    from llm_compression.multimodal.vision.encoder import VisionEncoder

_IMAGES, _SOUNDS = "cls", "mean"  # the pooling of every vision and audio tower


def text_identity(
    engine: "ArrowEngine",
    *,
    normalized: bool | None = None,
    dimension: int | None = None,
    precision: str = "float32",
    prompt: str | None = None,
    ranges: "EmbeddingRanges | None" = None,
) -> VectorIdentity:
    """How this engine makes vectors of texts.

    None means as the engine itself would: the model's own length and whole width, and in front
    of stored texts its prompt of documents.
    """
    embedding = engine.embedding_spec
    return VectorIdentity(
        model=engine.fingerprint,
        compute_dtype=engine.compute_dtype,
        max_seq_length=engine.max_seq_length,
        dimension=dimension or engine.get_embedding_dimension(),
        normalized=embedding.normalize if normalized is None else normalized,
        precision=precision,
        pooling=embedding.pooling.value,
        prompt=engine.prompt_texts.document if prompt is None else prompt,
        ranges="" if ranges is None else ranges.digest,
    )


def image_identity(encoder: "VisionEncoder", *, normalized: bool) -> VectorIdentity:
    """How this encoder makes vectors of images."""
    return _media_identity(encoder, "image", _IMAGES, normalized=normalized)


def sound_identity(encoder: "AudioEncoder", *, normalized: bool) -> VectorIdentity:
    """How this encoder makes vectors of sounds."""
    return replace(
        _media_identity(encoder, "audio", _SOUNDS, normalized=normalized),
        audio_mode=encoder.mode,
        window=encoder.processor.window,
        overlap=encoder.processor.overlap,
    )


def clip_identity(engine: "CLIPEngine", *, normalized: bool = True) -> VectorIdentity:
    """How this engine makes vectors of texts and of images, which share one space.

    ``pooling`` names that of texts, then that of images.
    """
    return VectorIdentity(
        model=engine.fingerprint,
        compute_dtype=engine.text.compute_dtype,
        max_seq_length=engine.text.max_seq_length,
        dimension=engine.get_embedding_dimension(),
        normalized=normalized,
        precision="float32",
        modality="clip",
        pooling=f"{engine.text.embedding_spec.pooling.value}, {_IMAGES}",
    )


def _media_identity(
    encoder: "VisionEncoder | AudioEncoder", modality: str, pooling: str, *, normalized: bool
) -> VectorIdentity:
    return VectorIdentity(
        model=encoder.fingerprint,
        compute_dtype=encoder.compute_dtype,
        max_seq_length=0,
        dimension=encoder.get_embedding_dimension(),
        normalized=normalized,
        precision="float32",
        modality=modality,
        pooling=pooling,
    )
