"""Weight tables of every dtype, made of seeded bits, and the contents they must give back."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

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
    STORAGE,
    FileRole,
    Manifest,
    Provenance,
    Quantization,
    SourceFile,
    stored_rows,
)
from llm_compression.weights.writer import WeightWriter

SPEC = ModelSpec(
    family=Family.BERT,
    text=TextSpec(
        vocab_size=64,
        max_position_embeddings=40,
        position_offset=0,
        type_vocab_size=2,
        num_layers=2,
        pooler=False,
        block=BlockSpec(32, 4, 64, NormPlacement.POST, 1e-12, Activation.GELU),
    ),
    tokenizer=TokenizerSpec(pad_token_id=0, lowercase=False, truncation_side="right"),
    embedding=EmbeddingSpec(Pooling.MEAN, True, 32, Similarity.COSINE),
)
PROVENANCE = Provenance(
    "synthetic", None, "None", "tests", (SourceFile("model.safetensors", "0" * 64),), ()
)


@dataclass(frozen=True)
class Stored:
    """One tensor as it goes in: ``raw`` is uint8, int4 packed two a byte."""

    dtype: str
    shape: tuple[int, ...]
    raw: np.ndarray
    quantization: Quantization | None = None


@dataclass(frozen=True)
class Content:
    """Everything that a table holds."""

    tensors: Mapping[str, Stored]
    files: Mapping[str, tuple[FileRole, bytes]]
    spec: ModelSpec = SPEC
    provenance: Provenance = PROVENANCE

    def with_tensor(self, name: str, stored: Stored) -> "Content":
        """A copy in which one tensor is another."""
        return replace(self, tensors={**self.tensors, name: stored})

    def with_file(self, name: str, role: FileRole, content: bytes) -> "Content":
        """A copy in which one attached file is another."""
        return replace(self, files={**self.files, name: (role, content)})

    def write(self, path: Path, dtypes: list[str] | None = None) -> Manifest:
        """The weight table of this content at ``path``; ``dtypes`` None are those it needs."""
        needed = sorted({stored.dtype for stored in self.tensors.values()})
        with WeightWriter(path, self.spec, dtypes or needed) as writer:
            for name, stored in self.tensors.items():
                writer.add_tensor(
                    name,
                    stored.raw,
                    stored.dtype,
                    stored.shape,
                    source=f"source.{name}",
                    source_dtype=stored.dtype,
                    quantization=stored.quantization,
                )
            for name, (role, content) in self.files.items():
                writer.add_file(name, content, role)
            return writer.finish(self.provenance)


def every_dtype(seed: int = 0, *, rows: int = 60) -> Content:
    """Each dtype in random bits (every NaN among them), and files from empty to over 1 MiB."""
    rng = np.random.default_rng(seed)

    def bits(dtype: str, *shape: int, quantization: Quantization | None = None) -> Stored:
        return replace(random_bits(rng, dtype, *shape), quantization=quantization)

    def scales(*shape: int) -> Stored:
        return of_values("float32", rng.uniform(0.01, 0.1, shape).astype(np.float32))

    by_group = Quantization(1, 8, "int4.scale", "int4.zero")
    by_column = Quantization(0, rows, "int8.scale")
    tensors = {
        "float32.weight": bits("float32", rows, 300),
        "float32.bias": of_values("float32", rng.normal(size=300).astype(np.float32)),
        "scalar": of_values("float32", np.float32(4.6052).reshape(())),
        "float16.weight": bits("float16", rows, 30),
        "bfloat16.weight": bits("bfloat16", rows, 33),
        "int64.ids": bits("int64", 1, 40),
        "int32.ids": bits("int32", 2, 3, 7),
        "int8.weight": bits("int8", rows, 24, quantization=by_column),
        "int8.scale": scales(1, 24),
        "int4.weight": bits("int4", rows, 32, quantization=by_group),
        "int4.scale": scales(rows, 4),
        "int4.zero": of_values("int8", rng.integers(-8, 8, (rows, 4)).astype(np.int8)),
        "int4.odd": bits("int4", 3, 5),
    }
    files = {
        "tokenizer.json": (FileRole.TOKENIZER, rng.bytes(700)),
        "preprocessor.json": (FileRole.PREPROCESSING, b'{"size": 224}'),
        "folder/empty.txt": (FileRole.SOURCE, b""),
        "folder/long.txt": (FileRole.SOURCE, b"a long line of text\n" * 60_000),
    }
    return Content(tensors, files)


def random_bits(rng: np.random.Generator, dtype: str, *shape: int) -> Stored:
    """A tensor of any bit pattern; the padding of an odd int4 is zero."""
    raw = rng.integers(0, 256, stored_rows(dtype, shape) * STORAGE[dtype].row_bytes, np.uint8)
    if dtype == "int4" and np.prod(shape) % 2:
        raw[-1] &= 15
    return Stored(dtype, shape, raw)


def of_values(dtype: str, values: np.ndarray) -> Stored:
    """A tensor from numpy values of the same layout."""
    raw = np.frombuffer(values.tobytes(), np.uint8)
    return Stored(dtype, values.shape, raw)


def unpacked_int4(raw: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The definition, slowly: low nibble first, two's complement, the last may be padding."""
    nibbles = [nibble for byte in raw.tolist() for nibble in (byte & 15, byte >> 4)]
    signed = [nibble - 16 if nibble > 7 else nibble for nibble in nibbles]
    count = int(np.prod(shape))
    return np.array(signed[:count], np.int8).reshape(shape)


def expected_bytes(stored: Stored) -> bytes:
    """What the loader's tensor must hold, byte for byte."""
    if stored.dtype == "int4":
        return unpacked_int4(stored.raw, stored.shape).tobytes()
    return stored.raw.tobytes()


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """The memory of a tensor in row-major order."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
