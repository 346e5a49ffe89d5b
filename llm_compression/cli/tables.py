"""Inputs to a vector table, for every modality."""

import argparse
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_compression.errors import InputError

if TYPE_CHECKING:
    from llm_compression.engine.arrow_engine import ArrowEngine
    from llm_compression.memory.identity import VectorIdentity
    from llm_compression.memory.vector_table import VectorTable
    from llm_compression.metrics.quantization import EmbeddingRanges
    from llm_compression.multimodal.audio.encoder import AudioEncoder
    from llm_compression.multimodal.vision.encoder import VisionEncoder


def encode_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `ArrowEngine.encode`, its prompt left out."""
    return {
        "truncate_dim": arguments.truncate_dim,
        "batch_size": batch_size(arguments, 32),
        "normalize_embeddings": arguments.normalize,
    }


def identity_of(
    engine: "ArrowEngine",
    arguments: argparse.Namespace,
    *,
    precision: str = "float32",
    prompt: str | None = None,
    ranges: "EmbeddingRanges | None" = None,
) -> "VectorIdentity":
    """How this engine with these arguments makes vectors."""
    from llm_compression.memory.identities import text_identity

    return text_identity(
        engine,
        normalized=arguments.normalize,
        dimension=arguments.truncate_dim,
        precision=precision,
        prompt=prompt,
        ranges=ranges,
    )


def vector_table(
    engine: "ArrowEngine",
    arguments: argparse.Namespace,
    texts: list[str],
    prompt: str,
    *,
    precision: str = "float32",
    ranges: "EmbeddingRanges | None" = None,
) -> "VectorTable":
    """Embed ``texts`` with ``prompt`` in front of each."""
    from llm_compression.memory.vector_table import VectorTable

    options = {**encode_options(arguments), "prompt": prompt}
    vectors = engine.encode(texts, **options, precision=precision, ranges=ranges)
    counts = engine.token_counts([prompt + text for text in texts])
    return VectorTable(
        sources=texts,
        vectors=vectors,
        identity=identity_of(engine, arguments, precision=precision, prompt=prompt, ranges=ranges),
        token_counts=counts,
        truncated=[count > engine.max_seq_length for count in counts],
        ranges=ranges,
    )


def image_table(
    encoder: "VisionEncoder",
    files: Sequence[Path],
    arguments: argparse.Namespace,
    *,
    normalized: bool,
) -> "VectorTable":
    """Embed image files; those that are skipped are said on stderr.

    Raises:
        InputError: one cannot be read and ``--on-error`` is ``raise``, or none can.
    """
    from llm_compression.memory.identities import image_identity
    from llm_compression.memory.vector_table import VectorTable

    with _skips_are_named_below():
        found = encoder.encode(
            files,
            batch_size=batch_size(arguments, 32),
            normalize_embeddings=normalized,
            on_error=arguments.on_error,
        )
    sources = [str(file) for file in files]
    if arguments.on_error == "skip":
        _name_skipped(found.skipped, len(files), "images")
        sources, found = [sources[i] for i in found.indices], found.embeddings
    return VectorTable(sources, found, image_identity(encoder, normalized=normalized))


def sound_table(
    encoder: "AudioEncoder", files: Sequence[Path], arguments: argparse.Namespace
) -> "VectorTable":
    """Embed the windows of sound files; those that are skipped are said on stderr.

    Raises:
        InputError: one cannot be read and ``--on-error`` is ``raise``, or none can.
    """
    from llm_compression.memory.identities import sound_identity
    from llm_compression.memory.vector_table import VectorTable

    normalized = bool(arguments.normalize)
    with _skips_are_named_below():
        found = encoder.encode_windows(
            files,
            batch_size=batch_size(arguments, 4),
            normalize_embeddings=normalized,
            on_error=arguments.on_error,
        )
    _name_skipped(found.skipped, len(files), "sounds")
    return VectorTable(
        sources=[str(files[index]) for index in found.sounds],
        vectors=found.embeddings,
        identity=sound_identity(encoder, normalized=normalized),
        starts=found.starts.tolist(),
        stops=found.stops.tolist(),
    )


def batch_size(arguments: argparse.Namespace, default: int) -> int:
    """What ``--batch-size`` says, or ``default``."""
    size: int | None = arguments.batch_size
    return default if size is None else size


@contextmanager
def _skips_are_named_below() -> Iterator[None]:
    from llm_compression.multimodal.skipped import SkippedInputWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedInputWarning)
        yield


def _name_skipped(skipped: Mapping[int, str], inputs: int, kind: str) -> None:
    for reason in skipped.values():
        print(f"skipped: {reason}", file=sys.stderr)
    if len(skipped) == inputs:
        raise InputError(f"none of the {kind} can be read")
