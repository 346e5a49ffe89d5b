"""Writes the golden file of the format's version: a tiny weight table with every dtype.

A golden file is kept for ever, so that every later release proves it reads the version. The
script therefore never replaces one; it runs once for each version, when the version is new.
"""

import argparse
from pathlib import Path

import numpy as np

from llm_compression.spec.block import Activation, BlockSpec, NormPlacement
from llm_compression.spec.model import (
    EmbeddingSpec,
    Family,
    ModelSpec,
    Pooling,
    Similarity,
    TokenizerSpec,
)
from llm_compression.spec.towers import TextSpec
from llm_compression.weights.schema import (
    FORMAT_VERSION,
    STORAGE,
    Dropped,
    FileRole,
    Manifest,
    Provenance,
    Quantization,
    SourceFile,
)
from llm_compression.weights.writer import WeightWriter

FOLDER = Path(__file__).parents[1] / "tests" / "format" / "golden"

SPEC = ModelSpec(
    family=Family.BERT,
    text=TextSpec(
        vocab_size=16,
        max_position_embeddings=8,
        position_offset=0,
        type_vocab_size=2,
        num_layers=1,
        pooler=False,
        block=BlockSpec(4, 2, 8, NormPlacement.POST, 1e-12, Activation.GELU),
    ),
    tokenizer=TokenizerSpec(pad_token_id=0, lowercase=True, truncation_side="right"),
    embedding=EmbeddingSpec(
        pooling=Pooling.MEAN,
        normalize=True,
        max_seq_length=8,
        similarity=Similarity.COSINE,
        prompts={"query": "q: "},
        default_prompt_name="query",
    ),
)
PROVENANCE = Provenance(
    source="golden",
    revision="1",
    architecture="BertModel",
    converter="make_golden",
    files=(SourceFile("model.safetensors", "0" * 64),),
    dropped=(Dropped("embeddings.position_ids", "a constant buffer"),),
)

Row = tuple[str, str, tuple[int, ...], np.ndarray, Quantization | None]

TENSORS: list[Row] = [
    ("float32", "float32", (2, 3), np.array([0, -0.0, 1.5, -2, np.inf, 3e-40], "<f4"), None),
    ("scalar", "float32", (), np.array([4.6052], "<f4"), None),
    ("float16", "float16", (4,), np.array([1, -2, 65504, 2**-24], "<f2"), None),
    # 1, -2, the largest, a NaN with a payload
    ("bfloat16", "bfloat16", (2, 2), np.array([0x3F80, 0xC000, 0x7F7F, 0x7FC1], "<u2"), None),
    ("int64", "int64", (2,), np.array([-1, 2**40], "<i8"), None),
    ("int32", "int32", (1, 2), np.array([7, -(2**31)], "<i4"), None),
    ("int8", "int8", (2, 2), np.array([1, -128, 127, 0], "i1"), Quantization(0, 2, "int8.scale")),
    ("int8.scale", "float32", (1, 2), np.array([0.5, 0.25], "<f4"), None),
    # low nibble first: 1, 2, -8, -1 | 7, 0, -3, 4
    (
        "int4",
        "int4",
        (2, 4),
        np.array([0x21, 0xF8, 0x07, 0x4D], "u1"),
        Quantization(1, 2, "int4.scale", "int4.zero"),
    ),
    ("int4.scale", "float32", (2, 2), np.array([1, 2, 0.5, 4], "<f4"), None),
    ("int4.zero", "int8", (2, 2), np.array([1, 0, -1, 2], "i1"), None),
    # five values in three bytes; the last nibble is padding
    ("int4.odd", "int4", (5,), np.array([0x10, 0x32, 0x04], "u1"), None),
]
FILES = [
    ("tokenizer.json", FileRole.TOKENIZER, b'{"version": "1.0"}'),
    ("preprocessor_config.json", FileRole.PREPROCESSING, b'{"size": 224}'),
    ("empty.txt", FileRole.SOURCE, b""),
    ("long.txt", FileRole.SOURCE, b"0123456789abcdef" * 70_000),  # two rows: it is over 1 MiB
]


def write_golden(path: Path) -> Manifest:
    """The golden contents as a weight table of the current version."""
    with WeightWriter(path, SPEC, list(STORAGE)) as writer:
        for name, dtype, shape, values, quantization in TENSORS:
            writer.add_tensor(
                name,
                np.frombuffer(values.tobytes(), np.uint8),
                dtype,
                shape,
                source=f"source.{name}",
                source_dtype=dtype,
                quantization=quantization,
            )
        for name, role, content in FILES:
            writer.add_file(name, content, role)
        return writer.finish(PROVENANCE)


def main() -> None:
    """Write the file of the current version where none stands."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = FOLDER / f"v{FORMAT_VERSION}.parquet"
    parser.add_argument("output", nargs="?", type=Path, default=default)
    path = parser.parse_args().output
    if path.exists():
        parser.error(f"{path} exists; a golden file is kept for ever")
    manifest = write_golden(path)
    print(f"{path}: {path.stat().st_size} bytes, fingerprint {manifest.fingerprint}")


if __name__ == "__main__":
    main()
