"""CLIP checkpoints of every architecture and release convert to the bit, and export again."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from llm_compression import ArrowEngine, convert, export
from llm_compression.conversion.clip import TEXT_DEFAULTS, VISION_DEFAULTS
from llm_compression.multimodal.vision_encoder import VisionEncoder
from llm_compression.spec.block import Activation, BlockSpec, NormPlacement
from llm_compression.spec.image import ImageSpec, Resample
from llm_compression.spec.model import Family, Pooling, TokenizerSpec
from llm_compression.spec.towers import TextSpec, VisionSpec
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
    pictures,
    preprocessor,
)
from tests.conftest import write_json
from tests.conversion.checkpoints import (
    assert_same_bits,
    edit_config,
    edit_json,
    read_tensors,
)

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


def test_the_spec_says_what_the_config_says(make_clip: CLIPFactory, target: Path):
    folder = make_clip(
        text={"num_hidden_layers": 3, "hidden_act": "gelu", "layer_norm_eps": 1e-3},
        vision={"hidden_size": 40, "num_attention_heads": 5, "intermediate_size": 48,
                "patch_size": 16, "image_size": 48},
    )  # fmt: skip
    convert(folder, target)
    spec, end = WeightTable(target).manifest.spec, clip_tokenizer().token_to_id(END)
    assert spec.family is Family.CLIP
    assert spec.text == TextSpec(
        vocab_size=552, max_position_embeddings=16, position_offset=0, type_vocab_size=0,
        num_layers=3, pooler=False, embedding_norm=False, final_norm=True, projection_dim=24,
        block=BlockSpec(32, 4, 64, NormPlacement.PRE, 1e-3, Activation.GELU, causal=True),
    )  # fmt: skip
    assert spec.vision == VisionSpec(
        image_size=48, patch_size=16, num_channels=3, num_layers=2, projection_dim=24,
        block=BlockSpec(40, 5, 48, NormPlacement.PRE, 1e-5, Activation.QUICK_GELU, causal=False),
    )  # fmt: skip
    assert spec.tokenizer == TokenizerSpec(end, False, "right", eos_token_id=end)
    assert (spec.embedding.pooling, spec.embedding.normalize) == (Pooling.EOS, False)
    assert spec.embedding.max_seq_length == 16
    assert spec.image == ImageSpec(
        48, None, Resample.BICUBIC, (48, 48), 1 / 255,
        tuple(preprocessor(48)["image_mean"]), tuple(preprocessor(48)["image_std"]),
    )  # fmt: skip


@EVERY_ARCHITECTURE
def test_a_tower_alone_has_the_spec_of_a_tower_alone(
    architecture: str, make_clip: CLIPFactory, target: Path
):
    convert(make_clip(architecture), target)
    spec = WeightTable(target).manifest.spec
    projected = architecture.endswith(("CLIPModel", "WithProjection"))
    assert (spec.vision is None) == (spec.image is None) == ("Text" in architecture)
    assert (spec.text is None) == (spec.embedding is None) == ("Vision" in architecture)
    assert [tower.projection_dim for tower in spec.towers] == [24 if projected else None] * len(
        spec.towers
    )
    assert spec.dimension == (24 if projected else 32)


def test_a_projection_that_the_config_does_not_name(make_clip: CLIPFactory, target: Path):
    folder = make_clip("CLIPVisionModelWithProjection")
    edit_config(folder, architectures=None)
    convert(folder, target)
    assert WeightTable(target).manifest.spec.vision.projection_dim == 24


@pytest.mark.parametrize(
    ("stated", "pooling", "token"),
    [(2, Pooling.MAX_ID, None), (551, Pooling.EOS, 551)],
)
def test_the_end_token(
    stated: int, pooling: Pooling, token: int | None, make_clip: CLIPFactory, target: Path
):
    convert(make_clip(text={"eos_token_id": stated}), target)
    spec = WeightTable(target).manifest.spec
    assert (spec.embedding.pooling, spec.tokenizer.eos_token_id) == (pooling, token)


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_defaults_are_those_of_transformers(tower: str):
    import transformers

    defaults = {"text": TEXT_DEFAULTS, "vision": VISION_DEFAULTS}[tower]
    theirs = transformers.AutoConfig.for_model(f"clip_{tower}_model").to_dict()
    assert {key: theirs[key] for key in defaults} == defaults


# The first releases wrote a second part for each tower; transformers makes a whole config of it,
# with defaults where it says nothing, and lets that win: configuration_clip.py, CLIPConfig.


def test_the_second_part_of_old_configs_wins(make_clip: CLIPFactory, target: Path):
    folder = make_clip(text={"hidden_act": "gelu"})
    config = json.loads((folder / "config.json").read_text())
    wrong = {**config["text_config"], "num_attention_heads": 2, "hidden_act": "relu"}
    edit_config(folder, text_config_dict=config["text_config"], text_config=wrong)
    convert(folder, target)
    block = WeightTable(target).manifest.spec.text.block
    assert (block.num_heads, block.activation) == (4, Activation.GELU)


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_defaults_of_the_second_part_win_too(tower: str, make_clip: CLIPFactory, target: Path):
    from transformers import CLIPConfig

    folder = make_clip(**{tower: {"hidden_act": "gelu", "layer_norm_eps": 1e-3}})
    config = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in config[f"{tower}_config"].items()
            if key not in ("hidden_act", "layer_norm_eps", "eos_token_id")}  # fmt: skip
    edit_config(folder, **{f"{tower}_config_dict": {**kept, "eos_token_id": 551}})
    theirs = getattr(CLIPConfig.from_pretrained(folder), f"{tower}_config")
    convert(folder, target)
    block = getattr(WeightTable(target).manifest.spec, tower).block
    assert (theirs.hidden_act, theirs.layer_norm_eps) == ("quick_gelu", 1e-5)
    assert (block.activation, block.norm_eps) == (Activation.QUICK_GELU, 1e-5)


@pytest.mark.parametrize("missing", ["null", "absent"])
def test_only_the_second_part(missing: str, make_clip: CLIPFactory, target: Path):
    folder = make_clip()
    config = json.loads((folder / "config.json").read_text())
    parts = ("text_config", "vision_config")
    edit_config(
        folder,
        drop=parts if missing == "absent" else (),
        **{f"{name}_dict": config[name] for name in parts},
        **dict.fromkeys(parts),
    )
    before = convert(make_clip(), target).fingerprint
    assert before == convert(folder, target).fingerprint


def test_a_second_part_of_null_says_nothing(make_clip: CLIPFactory, target: Path):
    folder = make_clip()
    before = convert(folder, target)
    edit_config(folder, text_config_dict=None, vision_config_dict=None)
    after = convert(folder, target)
    specs = [WeightTable(target).manifest.spec, WeightTable(before.path).manifest.spec]
    assert specs[0] == specs[1]
    assert after.tensors == before.tensors


def test_without_a_preprocessor_config_a_note_says_so(make_clip: CLIPFactory, target: Path):
    folder = make_clip()
    stated = convert(folder, target)
    spec = WeightTable(target).manifest.spec
    (folder / "preprocessor_config.json").unlink()
    guessed = convert(folder, target)
    assert stated.notes == ()
    assert len(guessed.notes) == 1
    assert "no preprocessor_config.json" in guessed.notes[0]
    assert WeightTable(target).manifest.spec == spec


def test_the_processor_of_transformers_5(make_clip: CLIPFactory, target: Path, tmp_path: Path):
    folder = make_clip()
    convert(folder, target)
    spec = WeightTable(target).manifest.spec
    (folder / "preprocessor_config.json").unlink()
    values = {"image_processor": preprocessor(32), "processor_class": "CLIPProcessor"}
    write_json(folder / "processor_config.json", values)
    assert convert(folder, target).notes == ()
    assert WeightTable(target).manifest.spec == spec
    assert json.loads((export(target, tmp_path / "b") / "processor_config.json").read_text())


def test_sizes_as_numbers(make_clip: CLIPFactory, target: Path):
    folder = make_clip()
    edit_json(folder / "preprocessor_config.json", size=40, crop_size=32)
    convert(folder, target)
    image = WeightTable(target).manifest.spec.image
    assert (image.shortest_edge, image.crop) == (40, (32, 32))


def sentence_transformers_folder(clip: Path, folder: Path) -> Path:
    """The layout that sentence-transformers has had for CLIP since its release 1."""
    shutil.copytree(clip, folder / "0_CLIPModel")
    kind = "sentence_transformers.models.CLIPModel"
    write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "0_CLIPModel",
                                          "type": kind}])  # fmt: skip
    prompts = {"prompts": {"photo": "a photo of "}, "similarity_fn_name": "dot"}
    write_json(folder / "config_sentence_transformers.json", prompts)
    return folder


def test_a_folder_of_sentence_transformers(tiny_clip: Path, target: Path, tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    folder = sentence_transformers_folder(tiny_clip, tmp_path / "st")
    report = convert(folder, target)
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    engine, texts = ArrowEngine(target), ["a photo of a cat", "ship"]
    images = [Image.fromarray(picture) for picture in pictures()]
    np.testing.assert_allclose(engine.encode(texts), theirs.encode(texts), atol=2e-6)
    np.testing.assert_allclose(
        VisionEncoder(target).encode(images), theirs.encode(images), atol=2e-6
    )
    prompted = engine.encode(["a dog"], prompt_name="photo")
    np.testing.assert_allclose(prompted, theirs.encode(["a dog"], prompt_name="photo"), atol=2e-6)
    assert (report.notes, engine.similarity_fn_name) == ((), "dot")


def test_a_folder_of_sentence_transformers_comes_back(
    tiny_clip: Path, target: Path, tmp_path: Path
):
    folder = sentence_transformers_folder(tiny_clip, tmp_path / "st")
    convert(folder, target)
    back = export(target, tmp_path / "back")
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {str(p.relative_to(back)) for p in back.rglob("*") if p.is_file()} == files
    found, wanted = (read_tensors(top / "0_CLIPModel") for top in (back, folder))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_folder_that_sentence_transformers_saved(tiny_clip: Path, target: Path, tmp_path: Path):
    """Since its release 5.4 a CLIP is a plain Transformer that a file of its own describes."""
    from sentence_transformers import SentenceTransformer

    def opened(folder: Path) -> SentenceTransformer:
        return SentenceTransformer(str(folder), device="cpu", local_files_only=True)

    theirs = opened(tiny_clip)
    theirs.max_seq_length = 9
    theirs.save_pretrained(str(tmp_path / "saved"))
    convert(tmp_path / "saved", target)
    ours, again = ArrowEngine(target, truncation="ok"), opened(export(target, tmp_path / "back"))
    texts = ["a photo of a cat", "the red ship runs and the blue truck sits on the dog"]
    images = [Image.fromarray(picture) for picture in pictures()]
    assert ours.max_seq_length == again.max_seq_length == 9
    np.testing.assert_allclose(ours.encode(texts), theirs.encode(texts), atol=2e-6)
    np.testing.assert_array_equal(again.encode(texts), theirs.encode(texts))
    np.testing.assert_array_equal(again.encode(images), theirs.encode(images))


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
