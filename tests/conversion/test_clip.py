"""CLIP checkpoints of every architecture and release convert to the bit, and export again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llm_compression import convert, export
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import FileRole
from tests.clip_checkpoints import (
    END,
    MODEL_TYPES,
    OLDER,
    OWN,
    RELEASES,
    CLIPFactory,
    clip_tokenizer,
    load_reference,
)
from tests.conversion.checkpoints import assert_same_bits, read_tensors

TEXT_NAMES = {
    "text.embeddings.token": "{}embeddings.token_embedding.weight",
    "text.embeddings.position": "{}embeddings.position_embedding.weight",
    "text.block.01.attn.q.weight": "{}encoder.layers.1.self_attn.q_proj.weight",
    "text.block.01.attn.k.bias": "{}encoder.layers.1.self_attn.k_proj.bias",
    "text.block.01.attn.v.weight": "{}encoder.layers.1.self_attn.v_proj.weight",
    "text.block.01.attn.o.weight": "{}encoder.layers.1.self_attn.out_proj.weight",
    "text.block.01.attn_norm.bias": "{}encoder.layers.1.layer_norm1.bias",
    "text.block.01.mlp.up.weight": "{}encoder.layers.1.mlp.fc1.weight",
    "text.block.01.mlp.down.weight": "{}encoder.layers.1.mlp.fc2.weight",
    "text.block.01.mlp_norm.weight": "{}encoder.layers.1.layer_norm2.weight",
    "text.final_norm.weight": "{}final_layer_norm.weight",
}
VISION_NAMES = {
    "vision.embeddings.class": "{}embeddings.class_embedding",
    "vision.embeddings.patch.weight": "{}embeddings.patch_embedding.weight",
    "vision.embeddings.position": "{}embeddings.position_embedding.weight",
    "vision.pre_norm.weight": "{}pre_layrnorm.weight",
    "vision.block.00.attn.q.weight": "{}encoder.layers.0.self_attn.q_proj.weight",
    "vision.block.01.mlp.down.bias": "{}encoder.layers.1.mlp.fc2.bias",
    "vision.post_norm.bias": "{}post_layernorm.bias",
}
PROJECTIONS = {
    "text": ("text.projection.weight", "text_projection.weight"),
    "vision": ("vision.projection.weight", "visual_projection.weight"),
}
EVERY_ARCHITECTURE = pytest.mark.parametrize("architecture", MODEL_TYPES)


def names(architecture: str, *, older: bool) -> dict[str, str]:
    """Some of the tensors that the architecture has, canonical name -> the source's."""
    projected = architecture.endswith(("CLIPModel", "WithProjection"))
    found: dict[str, str] = {}
    for tower, table in (("text", TEXT_NAMES), ("vision", VISION_NAMES)):
        if architecture == "CLIPModel" or tower.title() in architecture:
            prefix = f"{tower}_model." if projected or older else ""
            found |= {ours: theirs.format(prefix) for ours, theirs in table.items()}
            found |= dict([PROJECTIONS[tower]]) if projected else {}
    return found


def run(folder: Path, architecture: str) -> list[torch.Tensor]:
    """What transformers computes with a checkpoint, for two texts and two images."""
    texts = clip_tokenizer()
    texts.enable_padding(pad_id=texts.token_to_id(END), pad_token=END)
    ids = torch.tensor([e.ids for e in texts.encode_batch(["a photo of a cat", "the dog"])])
    pixels = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 3, 32, 32))).float()
    inputs: dict[str, Any] = {}
    if "Vision" not in architecture:
        inputs["input_ids"] = ids
    if "Text" not in architecture:
        inputs["pixel_values"] = pixels
    with torch.no_grad():
        found = load_reference(folder, architecture)(**inputs)
    return [value for value in found.to_tuple() if isinstance(value, torch.Tensor)]


@EVERY_ARCHITECTURE
@pytest.mark.parametrize("release", RELEASES)
def test_an_architecture_in_the_names_of_a_release(
    architecture: str, release: str, make_clip: CLIPFactory, target: Path
):
    folder, older = make_clip(architecture, names=release), release == OLDER
    report = convert(folder, target)
    assert_same_bits(target, read_tensors(folder))
    manifest = WeightTable(target).manifest
    sources = {entry.name: entry.source for entry in manifest.tensors}
    assert names(architecture, older=older).items() <= sources.items()
    assert all(line.partition(": ")[0].endswith("position_ids") for line in report.dropped)
    assert len(report.dropped) == (0 if not older else 2 if architecture == "CLIPModel" else 1)
    assert ("logit_scale" in sources) == (architecture == "CLIPModel")
    assert manifest.provenance.architecture == architecture
    assert report.notes == ()


@EVERY_ARCHITECTURE
@pytest.mark.parametrize("release", [OWN, OLDER])
def test_an_export_is_the_checkpoint_again(
    architecture: str, release: str, make_clip: CLIPFactory, target: Path, tmp_path: Path
):
    folder = make_clip(architecture, names=release)
    convert(folder, target)
    back = export(target, tmp_path / "back")
    wanted = {n: t for n, t in read_tensors(folder).items() if not n.endswith("position_ids")}
    found = read_tensors(back)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    files = {path.name for path in folder.iterdir()}
    assert {path.name for path in back.iterdir()} == files
    for name in files - {"model.safetensors"}:
        assert (back / name).read_bytes() == (folder / name).read_bytes()
    for ours, theirs in zip(run(back, architecture), run(folder, architecture), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_checkpoint_in_half_precision(
    dtype: torch.dtype, make_clip: CLIPFactory, target: Path, tmp_path: Path
):
    folder = make_clip(dtype=dtype)
    convert(folder, target)
    assert_same_bits(target, read_tensors(folder))
    assert {e.dtype for e in WeightTable(target).manifest.tensors} == {str(dtype)[6:]}
    back = export(target, tmp_path / "back")
    for ours, theirs in zip(run(back, "CLIPModel"), run(folder, "CLIPModel"), strict=True):
        assert torch.equal(ours, theirs)


def test_a_pickle_of_an_old_release(make_clip: CLIPFactory, target: Path):
    folder = make_clip(names=OLDER)
    tensors = read_tensors(folder)
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    convert(folder, target)
    assert_same_bits(target, tensors)


def test_the_attached_files(tiny_clip: Path, target: Path):
    convert(tiny_clip, target)
    table = WeightTable(target)
    assert {file.name: file.role for file in table.manifest.files} == {
        "tokenizer.json": FileRole.TOKENIZER,
        "config.json": FileRole.SOURCE,
        "tokenizer_config.json": FileRole.SOURCE,
        "preprocessor_config.json": FileRole.SOURCE,
    }
    for file in table.manifest.files:
        assert table.read_file(file.name) == (tiny_clip / file.name).read_bytes()
