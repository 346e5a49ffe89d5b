"""What embedding commands share: their options, the engine, and texts to a vector table."""

import argparse
from typing import TYPE_CHECKING, Any

from llm_compression.spec.names import COMPUTE_DTYPES, TRUNCATIONS

if TYPE_CHECKING:
    from llm_compression.engine.arrow_engine import ArrowEngine
    from llm_compression.memory.identity import VectorIdentity
    from llm_compression.memory.vector_table import VectorTable
    from llm_compression.metrics.quantization import EmbeddingRanges


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what decides the numbers in a vector."""
    parser.add_argument("model", help="weight table, checkpoint folder or hub id")
    parser.add_argument(
        "--compute-dtype",
        default="float32",
        choices=COMPUTE_DTYPES,
        help="what the core computes in",
    )
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
    parser.add_argument("--batch-size", type=int, default=32, help="texts run together")
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

    own = engine.spec.embedding.normalize
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
        texts=texts,
        vectors=vectors,
        token_counts=counts,
        truncated=[count > engine.max_seq_length for count in counts],
        prompt=prompt,
        identity=identity_of(engine, arguments, precision),
        ranges=ranges,
    )
