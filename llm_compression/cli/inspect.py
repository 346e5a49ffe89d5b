"""``inspect``: show what a weight table holds, without reading a weight."""

import argparse
import json
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_compression.spec.model import ModelSpec
    from llm_compression.spec.towers import Tower
    from llm_compression.weights.schema import Manifest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="weight table")
    parser.add_argument("--tensors", action="store_true", help="list every tensor")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the manifest."""
    from llm_compression.spec.codec import to_plain
    from llm_compression.weights.reader import WeightTable

    manifest = WeightTable(arguments.model).manifest
    if arguments.json:
        print(json.dumps(to_plain(manifest), indent=2, ensure_ascii=False))
        return 0
    print(_summary(manifest))
    if arguments.tensors:
        print(_tensors(manifest))
    return 0


def _summary(manifest: "Manifest") -> str:
    spec, origin = manifest.spec, manifest.provenance
    values = sum(math.prod(entry.shape) for entry in manifest.tensors)
    stored = sum(entry.stored.stop - entry.stored.start for entry in manifest.tensors)
    decoded = sum(entry.nbytes for entry in manifest.tensors)
    rows = {
        "fingerprint": manifest.fingerprint,
        "source": f"{origin.source}{f' at {origin.revision}' if origin.revision else ''}",
        "architecture": f"{origin.architecture} ({spec.family.value})",
        **_text(spec),
        **_vision(spec),
        **_audio(spec),
        "weights": f"{len(manifest.tensors)} tensors, {values:,} values, "
        f"{', '.join(_dtypes(manifest))}",
        "size": f"{stored / 1e6:.1f} MB stored, {decoded / 1e6:.1f} MB decoded "
        f"({stored / decoded:.3f})",
        "files": ", ".join(file.name for file in manifest.files),
    }
    return "\n".join(f"{name + ':':<16}{value}" for name, value in rows.items())


def _text(spec: "ModelSpec") -> dict[str, str]:
    if spec.text is None or spec.embedding is None:
        return {}
    text, embedding = spec.text, spec.embedding
    return {
        "text blocks" if spec.vision else "blocks": _blocks(text),
        "vocabulary": f"{text.vocab_size:,} tokens",
        "embedding": f"{text.dimension} dimensions, {embedding.pooling.value} pooling"
        f"{', unit length' if embedding.normalize else ''}, {embedding.similarity.value}",
        "max_seq_length": f"{embedding.max_seq_length} tokens",
        "prompts": ", ".join(f"{k}={v!r}" for k, v in embedding.prompts.items()) or "none",
    }


def _vision(spec: "ModelSpec") -> dict[str, str]:
    if spec.vision is None:
        return {}
    vision = spec.vision
    return {
        "vision blocks" if spec.text else "blocks": _blocks(vision),
        "images": f"{vision.image_size} x {vision.image_size}, {vision.num_patches} patches of "
        f"{vision.patch_size} x {vision.patch_size}, {vision.dimension} dimensions",
    }


def _audio(spec: "ModelSpec") -> dict[str, str]:
    if spec.audio is None or spec.sound is None:
        return {}
    audio, sound, decoder = spec.audio, spec.sound, spec.audio_decoder
    rows = {
        "blocks": _blocks(audio),
        "sound": f"{sound.sampling_rate} Hz in windows of {sound.chunk_length} s, "
        f"{audio.num_mel_bins} mel bins, {audio.max_source_positions} positions, "
        f"{audio.dimension} dimensions",
        "embedding": "mean over the positions that hear the sound",
    }
    if decoder:
        rows["decoder"] = f"kept, not run: {decoder.num_layers} x {decoder.block.hidden_size}"
    return rows


def _blocks(tower: "Tower") -> str:
    block = tower.block
    return (
        f"{tower.num_layers} x {block.hidden_size}, {block.num_heads} heads, "
        f"MLP {block.intermediate_size}, {block.activation.value}, "
        f"{block.norm_placement.value}-norm{', causal' if block.causal else ''}"
    )


def _dtypes(manifest: "Manifest") -> list[str]:
    """Stored dtypes, each with the source's where that was another."""
    kinds = sorted({(entry.dtype, entry.source_dtype) for entry in manifest.tensors})
    return [stored if stored == was else f"{stored} (source: {was})" for stored, was in kinds]


def _tensors(manifest: "Manifest") -> str:
    width = max(len(entry.name) for entry in manifest.tensors)
    return "\n".join(
        f"{entry.name:<{width}}  {entry.dtype:<9} {'x'.join(map(str, entry.shape)) or 'scalar':<14}"
        f" {entry.source}"
        for entry in manifest.tensors
    )
