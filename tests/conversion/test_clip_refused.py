"""What is only like CLIP, and a CLIP whose parts do not fit, is refused by its name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llm_compression import convert
from llm_compression.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    UnknownArchitectureError,
)
from tests.clip_checkpoints import NEWER, START, CLIPFactory, clip_tokenizer, write_preprocessor
from tests.conftest import tiny_tokenizer, write_json, write_modules
from tests.conversion.checkpoints import edit_config, edit_json, read_tensors, write_tensors
from tests.conversion.test_refused import refuse

SUPPORTED = "clip, clip_text_model, clip_vision_model"


@pytest.fixture
def clip(make_clip: CLIPFactory) -> Path:
    """A tiny CLIP of its own."""
    return make_clip()


def edit_part(folder: Path, part: str, drop: tuple[str, ...] = (), **changes: object) -> None:
    """Change keys of ``text_config`` or ``vision_config``."""
    config = json.loads((folder / "config.json").read_text())[part]
    kept = {key: value for key, value in {**config, **changes}.items() if key not in drop}
    edit_config(folder, **{part: kept})


def test_siglip(target: Path, tmp_path: Path):
    from transformers import SiglipConfig, SiglipModel

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2}  # fmt: skip
    config = SiglipConfig(
        text_config={**sizes, "vocab_size": 64, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={**sizes, "image_size": 16, "patch_size": 8},
    )
    SiglipModel(config).save_pretrained(tmp_path / "siglip")
    clip_tokenizer().save(str(tmp_path / "siglip" / "tokenizer.json"))
    refuse(tmp_path / "siglip", target, "model_type 'siglip'", SUPPORTED)


@pytest.mark.parametrize(
    "name",
    ["siglip2", "siglip_vision_model", "altclip", "chinese_clip", "clipseg", "blip", "CLIP"],
)
def test_other_kin(name: str, clip: Path, target: Path):
    edit_config(clip, model_type=name)
    refuse(clip, target, f"model_type {name!r}", SUPPORTED)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("architecture", ["CLIPModel", "CLIPVisionModel"])
def test_channels(architecture: str, channels: int, make_clip: CLIPFactory, target: Path):
    folder = make_clip(architecture, vision={"num_channels": channels})
    refuse(folder, target, str(folder), f"num_channels {channels} is not supported, only 3")


@pytest.mark.parametrize("name", ["SiglipImageProcessor", "ViTImageProcessor"])
def test_other_image_processors(name: str, clip: Path, target: Path):
    write_preprocessor(clip, 32, image_processor_type=name)
    refuse(clip, target, "image_processor_type", repr(name), "only CLIPImageProcessor")


@pytest.mark.parametrize(
    ("changes", "gives"),
    [
        ({"crop_size": {"height": 24, "width": 24}}, "(24, 24)"),
        ({"crop_size": {"height": 32, "width": 24}}, "(32, 24)"),
        ({"do_center_crop": False}, "None"),
        ({"do_center_crop": False, "size": {"height": 16, "width": 32}}, "(16, 32)"),
    ],
)
def test_images_of_another_size_than_the_towers(
    changes: dict[str, object], gives: str, clip: Path, target: Path
):
    write_preprocessor(clip, 32, **changes)
    refuse(clip, target, f"image gives {gives}", "32 x 32", kind=CheckpointError)


def test_values_of_the_preprocessing_that_cannot_be(clip: Path, target: Path):
    write_preprocessor(clip, 32, image_std=[0.5, 0.5, 0])
    refuse(clip, target, "preprocessor_config.json", kind=CheckpointError)


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("hidden_size", 33, "hidden_size 33"),
        ("hidden_size", "32", "hidden_size = '32'"),
        ("num_hidden_layers", 0, "num_layers is 0"),
        ("num_hidden_layers", 2**70, f"{2**70} layers"),
        ("num_attention_heads", None, "num_attention_heads"),
        ("layer_norm_eps", "small", "layer_norm_eps = 'small'"),
    ],
)
def test_values_of_a_tower_that_cannot_be(
    part: str, key: str, value: object, named: str, *, clip: Path, target: Path
):
    edit_part(clip, part, **{key: value})
    refuse(clip, target, str(clip), named, kind=CheckpointError)


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
def test_activations(part: str, clip: Path, target: Path):
    edit_part(clip, part, hidden_act="tanh")
    refuse(clip, target, f"{clip}, {part}: hidden_act 'tanh' is not supported")


@pytest.mark.parametrize(
    ("key", "value"),
    [("image_size", [32, 32]), ("image_size", 0), ("patch_size", 0), ("patch_size", 64),
     ("num_channels", "3")],
)  # fmt: skip
def test_sizes_of_images_that_cannot_be(key: str, value: object, clip: Path, target: Path):
    edit_part(clip, "vision_config", **{key: value})
    refuse(clip, target, str(clip), key, kind=CheckpointError)


@pytest.mark.parametrize("value", [-1, 552, "551", [551]])
def test_end_tokens_that_cannot_be(value: object, clip: Path, target: Path):
    edit_part(clip, "text_config", eos_token_id=value)
    refuse(clip, target, str(clip), "eos_token_id", kind=CheckpointError)


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
def test_a_part_that_is_none(part: str, clip: Path, target: Path):
    edit_config(clip, **{part: [1]})
    refuse(clip, target, str(clip), part, kind=CheckpointError)


def leave_the_end_out(clip: Path) -> None:
    start = {"SpecialToken": {"id": START, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    special = {START: {"id": START, "ids": [550], "tokens": [START]}}
    template = {"type": "TemplateProcessing", "single": [start, text], "pair": [start, text],
                "special_tokens": special}  # fmt: skip
    edit_json(clip / "tokenizer.json", post_processor=template)


def leave_both_ends_out(clip: Path) -> None:
    edit_json(clip / "tokenizer.json", post_processor=None)


def name_another_end(clip: Path) -> None:
    edit_part(clip, "text_config", eos_token_id=7)


def take_another_tokenizer(clip: Path) -> None:
    tiny_tokenizer().save(str(clip / "tokenizer.json"))


@pytest.mark.parametrize(
    "change", [leave_the_end_out, leave_both_ends_out, name_another_end, take_another_tokenizer]
)
def test_a_tokenizer_without_the_end_token(
    change: Callable[[Path], None], clip: Path, target: Path
):
    change(clip)
    generic = {"model_max_length": 16, "tokenizer_class": "PreTrainedTokenizerFast"}
    write_json(clip / "tokenizer_config.json", generic)
    refuse(clip, target, "tokenizer.json", "does not end a text", "eos_token_id",
           kind=CheckpointError)  # fmt: skip


def test_a_tokenizer_with_more_tokens_than_the_table(make_clip: CLIPFactory, target: Path):
    folder = make_clip(text={"vocab_size": 551, "eos_token_id": 2})
    refuse(folder, target, "tokenizer.json", "'<|endoftext|>' has id 551", kind=CheckpointError)


def test_no_tokenizer(clip: Path, target: Path):
    (clip / "tokenizer.json").unlink()
    refuse(clip, target, "no tokenizer.json", kind=CheckpointNotFoundError)


def test_tensors_that_do_not_fit_are_all_named(clip: Path, target: Path):
    tensors = read_tensors(clip)
    del tensors["vision_model.pre_layrnorm.bias"], tensors["logit_scale"]
    tensors["text_model.embeddings.token_embedding.bias"] = torch.zeros(3)
    tensors["vision_model.encoder.layers.2.layer_norm1.bias"] = torch.zeros(32)
    tensors["text_model.encoder.layers.0.mlp.fc1.weight"] = torch.zeros(63, 32)
    write_tensors(clip, tensors)
    refuse(
        clip,
        target,
        "does not fit its config.json in 5 tensors",
        "missing: vision.pre_norm.bias [32]",
        "missing: logit_scale []",
        "not known to this architecture: text_model.embeddings.token_embedding.bias",
        "not known to this architecture: vision_model.encoder.layers.2.layer_norm1.bias",
        "misshapen: text_model.encoder.layers.0.mlp.fc1.weight is [63, 32]",
        kind=CheckpointError,
    )


@pytest.mark.parametrize("name", ["text_projection", "visual_projection"])
def test_projections_of_two_widths(name: str, clip: Path, target: Path):
    write_tensors(clip, {**read_tensors(clip), f"{name}.weight": torch.zeros(20, 32)})
    refuse(
        clip,
        target,
        f"misshapen: {name}.weight is [20, 32], config.json asks for [24, 32]",
        kind=CheckpointError,
    )


@pytest.mark.parametrize("name", ["text_projection", "visual_projection"])
def test_a_projection_that_is_missing(name: str, clip: Path, target: Path):
    tensors = read_tensors(clip)
    del tensors[f"{name}.weight"]
    write_tensors(clip, tensors)
    ours = {"text_projection": "text", "visual_projection": "vision"}[name]
    refuse(clip, target, f"missing: {ours}.projection.weight [24, 32]", kind=CheckpointError)


def test_towers_that_meet_nowhere(clip: Path, target: Path):
    """Without projections the two towers are of one width, or no model."""
    names = ("text_projection.weight", "visual_projection.weight")
    write_tensors(clip, {n: t for n, t in read_tensors(clip).items() if n not in names})
    edit_config(clip, architectures=None)
    edit_part(clip, "text_config", hidden_size=40)
    refuse(clip, target, "40", "32", "share one space", kind=CheckpointError)


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_tensor_under_the_names_of_two_releases(tower: str, make_clip: CLIPFactory, target: Path):
    folder = make_clip(f"CLIP{tower.title()}Model", names=NEWER)
    tensors = read_tensors(folder)
    name = "encoder.layers.0.layer_norm1.bias"
    write_tensors(folder, {**tensors, f"{tower}_model.{name}": tensors[name].clone()})
    refuse(
        folder, target, "duplicate: ", name, f"become {tower}.block.00.attn_norm.bias",
        kind=CheckpointError,
    )  # fmt: skip


def test_a_classifier_is_no_model_of_both_towers(target: Path, tmp_path: Path, clip: Path):
    """CLIPForImageClassification calls itself a ``clip``, and has no text tower."""
    tensors = {n: t for n, t in read_tensors(clip).items() if n.startswith("vision_model.")}
    write_tensors(clip, {**tensors, "classifier.weight": torch.zeros(10, 32)})
    edit_config(clip, architectures=["CLIPForImageClassification"])
    refuse(
        clip, target, "missing: text.embeddings.token", "classifier.weight", kind=CheckpointError
    )


def test_a_list_of_modules_that_names_a_clip_beside_others(clip: Path, target: Path):
    rows = [{"idx": i, "name": str(i), "path": "", "type": f"sentence_transformers.models.{kind}"}
            for i, kind in enumerate(["CLIPModel", "Dense"])]  # fmt: skip
    write_json(clip / "modules.json", rows)
    refuse(clip, target, "CLIPModel > Dense")


@pytest.mark.parametrize("normalize", [False, True])
def test_a_pooling_that_is_not_of_clip(normalize: bool, make_clip: CLIPFactory, target: Path):
    """sentence-transformers puts one around a text tower alone; CLIP's own would differ from it."""
    folder = make_clip("CLIPTextModel")
    write_modules(folder, "mean", normalize=normalize, prompts=None)
    refuse(folder, target, "modules.json", "Pooling")


def test_nothing_is_left_of_a_conversion_that_was_refused(clip: Path, target: Path):
    edit_config(clip, model_type="siglip")
    with pytest.raises(UnknownArchitectureError):
        convert(clip, target)
    assert list(target.parent.iterdir()) == []
