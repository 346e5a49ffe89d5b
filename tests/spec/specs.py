"""A valid spec and variations of it."""

from dataclasses import replace
from typing import Any

from llm_compression.spec.block import Activation, BlockSpec, NormPlacement
from llm_compression.spec.codec import to_plain
from llm_compression.spec.model import (
    EmbeddingSpec,
    Family,
    ModelSpec,
    Pooling,
    Similarity,
    TokenizerSpec,
)
from llm_compression.spec.towers import TextSpec

BLOCK = BlockSpec(
    hidden_size=8,
    num_heads=2,
    intermediate_size=12,
    norm_placement=NormPlacement.POST,
    norm_eps=1e-12,
    activation=Activation.GELU,
)
TEXT = TextSpec(
    vocab_size=20,
    max_position_embeddings=10,
    position_offset=0,
    type_vocab_size=2,
    num_layers=1,
    pooler=False,
    block=BLOCK,
)
TOKENIZER = TokenizerSpec(pad_token_id=0, lowercase=False, truncation_side="right")
EMBEDDING = EmbeddingSpec(
    pooling=Pooling.MEAN,
    normalize=True,
    max_seq_length=10,
    similarity=Similarity.COSINE,
    prompts={"query": "query: ", "Fluß": "東京 \x00 \n 🙂"},
    default_prompt_name="query",
)
MODEL = ModelSpec(Family.BERT, TEXT, TOKENIZER, EMBEDDING)


def text(**values: Any) -> TextSpec:
    return replace(TEXT, **values)


def plain(**paths: Any) -> dict[str, Any]:
    """`MODEL` as plain JSON values, with values set at dotted paths (``text__block`` is a dot)."""
    whole: dict[str, Any] = to_plain(MODEL)
    for path, value in paths.items():
        *steps, last = path.split("__")
        part = whole
        for step in steps:
            part = part[step]
        part[last] = value
    return whole
