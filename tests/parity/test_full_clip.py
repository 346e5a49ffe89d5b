"""CLIP at its real shapes with random weights, the real tokenizer and preprocessing, tap by tap."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_compression import convert
from llm_compression.validation.validate import validate

SMALL = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048}
MIDDLE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
LARGE = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096,
         "num_hidden_layers": 24, "patch_size": 14}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "ViT-B/32": {"projection": 512, "text": SMALL, "vision": MIDDLE},
    "ViT-B/16": {"projection": 512, "text": SMALL, "vision": MIDDLE | {"patch_size": 16}},
    "ViT-L/14": {"projection": 768, "text": MIDDLE, "vision": LARGE},
    "ViT-L/14-336": {"projection": 768, "text": MIDDLE, "vision": LARGE | {"image_size": 336}},
}
PARAMETERS = {  # those of OpenAI's releases
    "ViT-B/32": 151_277_313,
    "ViT-B/16": 149_620_737,
    "ViT-L/14": 427_616_513,
    "ViT-L/14-336": 427_944_193,
}


@pytest.fixture
def folder(tmp_path: Path, empty_cache: Path) -> Iterator[Path]:
    """A folder whose gigabytes go with the test."""
    yield tmp_path
    shutil.rmtree(tmp_path)
    shutil.rmtree(empty_cache, ignore_errors=True)


def write_full(folder: Path, assets: Path, shape: dict[str, Any]) -> Path:
    """A random checkpoint of this shape, with OpenAI's own config, tokenizer and preprocessing."""
    from transformers import CLIPConfig, CLIPModel

    real = assets / "clip-vit-base-patch32"
    config = CLIPConfig.from_pretrained(real).to_dict()
    text = {**config["text_config"], **shape["text"], "projection_dim": shape["projection"]}
    vision = {**config["vision_config"], **shape["vision"], "projection_dim": shape["projection"]}
    whole = {"projection_dim": shape["projection"], "text_config": text, "vision_config": vision}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(**whole))
    for parameter in model.parameters():  # fresh biases are zero and norms one: make all matter
        if parameter.ndim == 1:
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.logit_scale.data.fill_(4.6052)  # 100, where training holds it
    model.save_pretrained(folder, max_shard_size="1GB")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(real / name, folder / name)
    processor = json.loads((real / "preprocessor_config.json").read_text())
    side = vision["image_size"]
    processor |= {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "ViT-B/32")) for name in SHAPES]
)
def test_every_tap(name: str, assets: Path, folder: Path) -> None:
    shape = SHAPES[name]
    checkpoint = write_full(folder / "checkpoint", assets, shape)
    report = convert(checkpoint, folder / "model.parquet")
    assert report.parameters == PARAMETERS[name]
    compared = validate(report.path, checkpoint)
    assert compared.passed, compared.to_table()
    assert compared.tolerance.absolute == 5e-5
    assert compared.tolerance.cosine == 0.999999
    layers = shape["vision"].get("num_hidden_layers", 12)
    assert len(compared.taps) == (4 + 2 * 12) + (5 + 2 * layers) + 1
