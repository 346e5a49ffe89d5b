"""Canonical tensor names and shapes, derived from a spec alone."""

from collections.abc import Iterator

from llm_compression.spec.block import BlockSpec
from llm_compression.spec.model import ModelSpec
from llm_compression.spec.towers import TextSpec

Shape = tuple[int, ...]
BLOCK = "text.block.{i:02d}"


def expected_tensors(spec: ModelSpec) -> dict[str, Shape]:
    """Name and shape of every tensor that a model of this spec has, in file order."""
    return dict(_text(spec.text))


def _text(text: TextSpec) -> Iterator[tuple[str, Shape]]:
    hidden = text.block.hidden_size
    yield "text.embeddings.token", (text.vocab_size, hidden)
    yield "text.embeddings.position", (text.max_position_embeddings, hidden)
    if text.type_vocab_size:
        yield "text.embeddings.type", (text.type_vocab_size, hidden)
    yield from _affine("text.embeddings.norm", (hidden,))
    for i in range(text.num_layers):
        yield from _block(BLOCK.format(i=i), text.block)
    if text.pooler:
        yield from _affine("text.pooler", (hidden, hidden))


def _block(prefix: str, block: BlockSpec) -> Iterator[tuple[str, Shape]]:
    hidden, inner = block.hidden_size, block.intermediate_size
    for projection in ("q", "k", "v", "o"):
        yield from _affine(f"{prefix}.attn.{projection}", (hidden, hidden))
    yield from _affine(f"{prefix}.attn_norm", (hidden,))
    yield from _affine(f"{prefix}.mlp.up", (inner, hidden))
    yield from _affine(f"{prefix}.mlp.down", (hidden, inner))
    yield from _affine(f"{prefix}.mlp_norm", (hidden,))


def _affine(prefix: str, weight: Shape) -> Iterator[tuple[str, Shape]]:
    yield f"{prefix}.weight", weight
    yield f"{prefix}.bias", weight[:1]
