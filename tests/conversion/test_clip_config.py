"""A CLIP's config and preprocessing become its spec as transformers reads them."""

import json
from pathlib import Path

import pytest

from llm_compression import convert, export
from llm_compression.conversion.clip import TEXT_DEFAULTS, VISION_DEFAULTS
from llm_compression.spec.block import Activation, BlockSpec, NormPlacement
from llm_compression.spec.image import ImageSpec, Resample
from llm_compression.spec.model import Family, Pooling, TokenizerSpec
from llm_compression.spec.towers import TextSpec, VisionSpec
from llm_compression.weights.reader import WeightTable
from tests.clip_checkpoints import END, MODEL_TYPES, CLIPFactory, clip_tokenizer, preprocessor
from tests.conftest import write_json
from tests.conversion.checkpoints import edit_config, edit_json


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


@pytest.mark.parametrize("architecture", MODEL_TYPES)
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
