"""``inspect``: show what a weight table holds, without reading a weight."""

import argparse
import json
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    text, embedding = spec.text, spec.embedding
    values = sum(math.prod(entry.shape) for entry in manifest.tensors)
    stored = sum(entry.stored.stop - entry.stored.start for entry in manifest.tensors)
    decoded = sum(entry.nbytes for entry in manifest.tensors)
    rows = {
        "fingerprint": manifest.fingerprint,
        "source": f"{origin.source}{f' at {origin.revision}' if origin.revision else ''}",
        "architecture": f"{origin.architecture} ({spec.family.value})",
        "blocks": f"{text.num_layers} x {text.block.hidden_size}, {text.block.num_heads} heads, "
        f"MLP {text.block.intermediate_size}, {text.block.activation.value}, "
        f"{text.block.norm_placement.value}-norm",
        "vocabulary": f"{text.vocab_size:,} tokens",
        "embedding": f"{spec.dimension} dimensions, {embedding.pooling.value} pooling"
        f"{', unit length' if embedding.normalize else ''}, {embedding.similarity.value}",
        "max_seq_length": f"{embedding.max_seq_length} tokens",
        "prompts": ", ".join(f"{k}={v!r}" for k, v in embedding.prompts.items()) or "none",
        "weights": f"{len(manifest.tensors)} tensors, {values:,} values, "
        f"{', '.join(_dtypes(manifest))}",
        "size": f"{stored / 1e6:.1f} MB stored, {decoded / 1e6:.1f} MB decoded "
        f"({stored / decoded:.3f})",
        "files": ", ".join(file.name for file in manifest.files),
    }
    return "\n".join(f"{name + ':':<16}{value}" for name, value in rows.items())


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
