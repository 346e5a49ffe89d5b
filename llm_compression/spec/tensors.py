"""Canonical tensor names and shapes, derived from a spec alone."""

from collections.abc import Iterator

from llm_compression.spec.block import BlockSpec
from llm_compression.spec.model import ModelSpec
from llm_compression.spec.towers import AudioDecoderSpec, AudioSpec, TextSpec, Tower, VisionSpec

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
    if spec.audio:
        expected |= audio_tensors(spec.audio)
    if spec.audio_decoder:
        expected |= dict(_audio_decoder(spec.audio_decoder))
    if spec.text and spec.vision:
        expected[LOGIT_SCALE] = ()
    return expected


def text_tensors(text: TextSpec) -> dict[str, Shape]:
    """Name and shape of every tensor of a text tower."""
    return dict(_text(text))


def vision_tensors(vision: VisionSpec) -> dict[str, Shape]:
    """Name and shape of every tensor of a vision tower."""
    return dict(_vision(vision))


def audio_tensors(audio: AudioSpec) -> dict[str, Shape]:
    """Name and shape of every tensor of an audio tower."""
    return dict(_audio(audio))


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


def _audio(audio: AudioSpec) -> Iterator[tuple[str, Shape]]:
    hidden = audio.block.hidden_size
    yield from _affine("audio.conv1", (hidden, audio.num_mel_bins, 3))
    yield from _affine("audio.conv2", (hidden, hidden, 3))
    yield "audio.embeddings.position", (audio.max_source_positions, hidden)
    yield from _blocks("audio", audio)
    yield from _affine("audio.final_norm", (hidden,))


def _audio_decoder(decoder: AudioDecoderSpec) -> Iterator[tuple[str, Shape]]:
    hidden = decoder.block.hidden_size
    yield "audio_decoder.embeddings.token", (decoder.vocab_size, hidden)
    yield "audio_decoder.embeddings.position", (decoder.max_target_positions, hidden)
    for i in range(decoder.num_layers):
        prefix = BLOCK.format(tower="audio_decoder", i=i)
        yield from _block(prefix, decoder.block)
        yield from _attention(f"{prefix}.cross", decoder.block)
    yield from _affine("audio_decoder.final_norm", (hidden,))


def _blocks(name: str, tower: Tower) -> Iterator[tuple[str, Shape]]:
    for i in range(tower.num_layers):
        yield from _block(BLOCK.format(tower=name, i=i), tower.block)


def _block(prefix: str, block: BlockSpec) -> Iterator[tuple[str, Shape]]:
    hidden, inner = block.hidden_size, block.intermediate_size
    yield from _attention(f"{prefix}.attn", block)
    yield from _affine(f"{prefix}.mlp.up", (inner, hidden))
    yield from _affine(f"{prefix}.mlp.down", (hidden, inner))
    yield from _affine(f"{prefix}.mlp_norm", (hidden,))


def _attention(prefix: str, block: BlockSpec) -> Iterator[tuple[str, Shape]]:
    hidden = block.hidden_size
    for projection in "qkvo":
        yield f"{prefix}.{projection}.weight", (hidden, hidden)
        if projection in block.attention_bias.value:
            yield f"{prefix}.{projection}.bias", (hidden,)
    yield from _affine(f"{prefix}_norm", (hidden,))


def _affine(prefix: str, weight: Shape) -> Iterator[tuple[str, Shape]]:
    yield f"{prefix}.weight", weight
    yield f"{prefix}.bias", weight[:1]
