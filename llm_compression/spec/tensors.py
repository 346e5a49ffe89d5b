"""Canonical tensor names and shapes, derived from a spec alone."""

from collections.abc import Iterator

from llm_compression.spec.block import BlockSpec
from llm_compression.spec.model import ModelSpec
from llm_compression.spec.towers import TextSpec, VisionSpec

Shape = tuple[int, ...]
BLOCK = "{tower}.block.{i:02d}"
LOGIT_SCALE = "logit_scale"


def expected_tensors(spec: ModelSpec) -> dict[str, Shape]:
    """Name and shape of every tensor that a model of this spec has, in file order."""
    expected: dict[str, Shape] = {}
    if spec.text:
        expected |= text_tensors(spec.text)
    if spec.vision:
        expected |= vision_tensors(spec.vision)
    if spec.text and spec.vision:
        expected[LOGIT_SCALE] = ()
    return expected


def text_tensors(text: TextSpec) -> dict[str, Shape]:
    """Name and shape of every tensor of a text tower."""
    return dict(_text(text))


def vision_tensors(vision: VisionSpec) -> dict[str, Shape]:
    """Name and shape of every tensor of a vision tower."""
    return dict(_vision(vision))


def _text(text: TextSpec) -> Iterator[tuple[str, Shape]]:
    hidden = text.block.hidden_size
    yield "text.embeddings.token", (text.vocab_size, hidden)
    yield "text.embeddings.position", (text.max_position_embeddings, hidden)
    if text.type_vocab_size:
        yield "text.embeddings.type", (text.type_vocab_size, hidden)
    if text.embedding_norm:
        yield from _affine("text.embeddings.norm", (hidden,))
    yield from _blocks("text", text)
    if text.final_norm:
        yield from _affine("text.final_norm", (hidden,))
    if text.pooler:
        yield from _affine("text.pooler", (hidden, hidden))
    if text.projection_dim:
        yield "text.projection.weight", (text.projection_dim, hidden)


def _vision(vision: VisionSpec) -> Iterator[tuple[str, Shape]]:
    hidden, patch = vision.block.hidden_size, vision.patch_size
    yield "vision.embeddings.class", (hidden,)
    yield "vision.embeddings.patch.weight", (hidden, vision.num_channels, patch, patch)
    yield "vision.embeddings.position", (vision.num_patches + 1, hidden)
    yield from _affine("vision.pre_norm", (hidden,))
    yield from _blocks("vision", vision)
    yield from _affine("vision.post_norm", (hidden,))
    if vision.projection_dim:
        yield "vision.projection.weight", (vision.projection_dim, hidden)


def _blocks(name: str, tower: TextSpec | VisionSpec) -> Iterator[tuple[str, Shape]]:
    for i in range(tower.num_layers):
        yield from _block(BLOCK.format(tower=name, i=i), tower.block)


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
