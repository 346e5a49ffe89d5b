"""What embedding commands share: their options, engines, and inputs to a vector table."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_compression.errors import InputError
from llm_compression.spec.names import COMPUTE_DTYPES, TRUNCATIONS

if TYPE_CHECKING:
    from llm_compression.engine.arrow_engine import ArrowEngine
    from llm_compression.memory.identity import VectorIdentity
    from llm_compression.memory.vector_table import VectorTable
    from llm_compression.metrics.quantization import EmbeddingRanges
    from llm_compression.multimodal.vision_encoder import VisionEncoder


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what decides the numbers in a vector."""
    add_model_arguments(parser)
    parser.add_argument("--max-seq-length", type=int, help="tokens kept; default: the model's own")
    parser.add_argument(
        "--truncation",
        default="warn",
        choices=TRUNCATIONS,
        help="warn of, refuse, or quietly cut longer texts",
    )
    parser.add_argument(
        "--deterministic", action="store_true", help="same bits for a text in any batch"
    )
    parser.add_argument("--truncate-dim", type=int, help="keep the first dimensions only")
    normalize = parser.add_mutually_exclusive_group()
    normalize.add_argument(
        "--normalize",
        action="store_true",
        default=None,
        help="default: as the model",
    )
    normalize.add_argument(
        "--no-normalize", dest="normalize", action="store_false", help="leave lengths as they come"
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the model and how it is run."""
    parser.add_argument("model", help="weight table, checkpoint folder or hub id")
    parser.add_argument(
        "--compute-dtype",
        default="float32",
        choices=COMPUTE_DTYPES,
        help="what the core computes in",
    )
    parser.add_argument("--batch-size", type=int, default=32, help="inputs run together")


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare pictures as inputs."""
    parser.add_argument("--images", nargs="+", metavar="PATH", help="image files or folders")
    add_on_error(parser)


def add_on_error(parser: argparse.ArgumentParser) -> None:
    """Declare what becomes of a picture that cannot be read."""
    parser.add_argument(
        "--on-error",
        default="raise",
        choices=("raise", "skip"),
        help="stop at an image that cannot be read, or leave it out and say so",
    )


def open_engine(arguments: argparse.Namespace) -> "ArrowEngine":
    """The engine that the arguments describe."""
    from llm_compression.engine.arrow_engine import ArrowEngine

    return ArrowEngine.from_pretrained(
        arguments.model,
        compute_dtype=arguments.compute_dtype,
        max_seq_length=arguments.max_seq_length,
        truncation=arguments.truncation,
        deterministic=arguments.deterministic,
    )


def open_vision(arguments: argparse.Namespace) -> "VisionEncoder":
    """The vision encoder that the arguments describe."""
    from llm_compression.multimodal.vision_encoder import VisionEncoder

    return VisionEncoder.from_pretrained(arguments.model, compute_dtype=arguments.compute_dtype)


def encode_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `ArrowEngine.encode`, its prompt left out."""
    return {
        "truncate_dim": arguments.truncate_dim,
        "batch_size": arguments.batch_size,
        "normalize_embeddings": arguments.normalize,
    }


def identity_of(
    engine: "ArrowEngine", arguments: argparse.Namespace, precision: str
) -> "VectorIdentity":
    """How this engine with these arguments makes vectors."""
    from llm_compression.memory.identity import VectorIdentity

    own = engine.embedding_spec.normalize
    return VectorIdentity(
        model=engine.fingerprint,
        compute_dtype=engine.compute_dtype,
        max_seq_length=engine.max_seq_length,
        dimension=arguments.truncate_dim or engine.get_embedding_dimension(),
        normalized=own if arguments.normalize is None else arguments.normalize,
        precision=precision,
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
        identity=identity_of(engine, arguments, precision),
        token_counts=counts,
        truncated=[count > engine.max_seq_length for count in counts],
        prompt=prompt,
        ranges=ranges,
    )


def image_identity(encoder: "VisionEncoder", *, normalized: bool) -> "VectorIdentity":
    """How this encoder makes vectors."""
    from llm_compression.memory.identity import VectorIdentity

    return VectorIdentity(
        model=encoder.fingerprint,
        compute_dtype=encoder.compute_dtype,
        max_seq_length=0,
        dimension=encoder.get_embedding_dimension(),
        normalized=normalized,
        precision="float32",
        modality="image",
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
    from llm_compression.memory.vector_table import VectorTable
    from llm_compression.multimodal.vision_encoder import SkippedImageWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedImageWarning)  # each is named below
        found = encoder.encode(
            files,
            batch_size=arguments.batch_size,
            normalize_embeddings=normalized,
            on_error=arguments.on_error,
        )
    sources = [str(file) for file in files]
    if arguments.on_error == "skip":
        for reason in found.skipped.values():
            print(f"skipped: {reason}", file=sys.stderr)
        if not len(found.indices):
            raise InputError("none of the images can be read")
        sources, found = [sources[i] for i in found.indices], found.embeddings
    return VectorTable(sources, found, image_identity(encoder, normalized=normalized))
