"""The preprocessing of a checkpoint means what it means to transformers, or is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llm_compression.conversion.preprocessing import read_preprocessing
from llm_compression.errors import CheckpointError, UnknownArchitectureError
from llm_compression.multimodal.vision.processor import ImageProcessor
from llm_compression.spec.image import ImageSpec, Resample
from tests.clip_checkpoints import pictures, preprocessor, reference_processor, write_preprocessor
from tests.conftest import write_json
from tests.conversion.checkpoints import edit_json

SETTINGS: dict[str, dict[str, object]] = {
    "as OpenAI writes it": {},
    "sizes as numbers": {"size": 32, "crop_size": 32},
    "two sides": {"size": {"height": 32, "width": 32}},
    "two sides without a crop": {"size": {"height": 32, "width": 32}, "do_center_crop": False},
    "a short edge beyond the crop": {"size": {"shortest_edge": 45}},
    "a short edge within the crop": {"size": {"shortest_edge": 21}},
    "no resize": {"do_resize": False},
    "nearest": {"resample": 0},
    "lanczos": {"resample": 1},
    "bilinear": {"resample": 2},
    "box": {"resample": 4},
    "hamming": {"resample": 5},
    "no rescale": {"do_rescale": False},
    "another factor": {"rescale_factor": 1 / 127.5},
    "no normalisation": {"do_normalize": False},
    "another mean": {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.125]},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_pixels_are_those_of_transformers(settings: dict[str, object], tmp_path: Path):
    write_preprocessor(tmp_path, 32, **settings)
    spec, stated = read_preprocessing(tmp_path, 32)
    assert stated
    images = [Image.fromarray(picture) for picture in pictures()]
    wanted = reference_processor(tmp_path)(images, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(ImageProcessor(spec)(images), wanted)


@pytest.mark.parametrize("key", preprocessor(224))
def test_a_key_that_is_left_out_is_that_of_transformers(key: str, tmp_path: Path):
    """As the first checkpoints did, or with null in its place."""
    write_preprocessor(tmp_path, 224)
    whole, _ = read_preprocessing(tmp_path, 224)
    edit_json(tmp_path / "preprocessor_config.json", **{key: None})
    assert read_preprocessing(tmp_path, 224) == (whole, True)
    edit_json(tmp_path / "preprocessor_config.json", drop=(key,))
    assert read_preprocessing(tmp_path, 224) == (whole, True)


def test_the_values(tmp_path: Path):
    write_preprocessor(tmp_path, 32, size=40, resample=1, image_std=[0.5, 0.25, 2])
    spec, _ = read_preprocessing(tmp_path, 32)
    assert spec == ImageSpec(
        shortest_edge=40,
        size=None,
        resample=Resample.LANCZOS,
        crop=(32, 32),
        scale=1 / 255,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.5, 0.25, 2.0),
    )


@pytest.mark.parametrize("side", [32, 336])
def test_without_a_file_it_is_that_of_clip_at_the_size_of_the_tower(side: int, tmp_path: Path):
    spec, stated = read_preprocessing(tmp_path, side)
    write_preprocessor(tmp_path, side)
    assert not stated
    assert (spec, True) == read_preprocessing(tmp_path, side)


def test_the_file_of_transformers_5(tmp_path: Path):
    write_preprocessor(tmp_path, 32, resample=2)
    alone = read_preprocessing(tmp_path, 32)
    (tmp_path / "preprocessor_config.json").unlink()
    part = {**preprocessor(32), "resample": 2}
    write_json(
        tmp_path / "processor_config.json",
        {"image_processor": part, "processor_class": "CLIPProcessor"},
    )
    assert read_preprocessing(tmp_path, 32) == alone


def test_the_file_of_transformers_5_wins_over_an_older_one(tmp_path: Path):
    """transformers/image_processing_base.py, get_image_processor_dict."""
    write_preprocessor(tmp_path, 32, resample=2)
    write_json(tmp_path / "processor_config.json", {"image_processor": preprocessor(32)})
    assert read_preprocessing(tmp_path, 32)[0].resample is Resample.BICUBIC


def test_a_processor_that_speaks_of_no_images_leaves_the_older_file(tmp_path: Path):
    write_preprocessor(tmp_path, 32, resample=2)
    write_json(tmp_path / "processor_config.json", {"processor_class": "CLIPProcessor"})
    assert read_preprocessing(tmp_path, 32)[0].resample is Resample.BILINEAR


@pytest.mark.parametrize("name", ["CLIPImageProcessor", "CLIPImageProcessorFast"])
def test_processors_of_clip(name: str, tmp_path: Path):
    write_preprocessor(tmp_path, 32, image_processor_type=name)
    assert read_preprocessing(tmp_path, 32)[1]


def test_the_first_name_of_the_processor(tmp_path: Path):
    write_preprocessor(tmp_path, 32, feature_extractor_type="CLIPFeatureExtractor")
    edit_json(tmp_path / "preprocessor_config.json", drop=("image_processor_type",))
    assert read_preprocessing(tmp_path, 32)[1]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("image_processor_type", "SiglipImageProcessor"),
        ("image_processor_type", "ViTImageProcessor"),
        ("image_processor_type", "ConvNextImageProcessor"),
        ("feature_extractor_type", "ViTFeatureExtractor"),
        ("image_processor_type", 3),
    ],
)
def test_other_processors_are_refused_by_name(key: str, name: object, tmp_path: Path):
    values = {k: v for k, v in preprocessor(32).items() if k != "image_processor_type"}
    write_json(tmp_path / "preprocessor_config.json", {**values, key: name})
    with pytest.raises(UnknownArchitectureError) as caught:
        read_preprocessing(tmp_path, 32)
    assert str(tmp_path / "preprocessor_config.json") in str(caught.value)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", {"shortest_edge": 32, "longest_edge": 64}),
        ("size", {"longest_edge": 32}),
        ("size", {"height": 32}),
        ("size", [32, 32]),
        ("size", "32"),
        ("size", 0),
        ("crop_size", {"height": 32}),
        ("crop_size", {"height": 0, "width": 32}),
        ("crop_size", "32"),
        ("resample", 6),
        ("resample", -1),
        ("resample", "bicubic"),
        ("rescale_factor", "small"),
        ("rescale_factor", float("inf")),
        ("image_mean", 0.5),
        ("image_mean", ["a", "b", "c"]),
        ("image_mean", [float("nan"), 0, 0]),
        ("image_mean", [0.5]),
        ("image_std", [0.5, 0, 0.5]),
        ("image_std", [0.5, 0.5]),
    ],
)
def test_values_that_cannot_be(key: str, value: object, tmp_path: Path):
    write_preprocessor(tmp_path, 32, **{key: value})
    with pytest.raises(CheckpointError) as caught:
        read_preprocessing(tmp_path, 32)
    assert str(tmp_path / "preprocessor_config.json") in str(caught.value)


def test_json_that_is_none(tmp_path: Path):
    (tmp_path / "preprocessor_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="preprocessor_config"):
        read_preprocessing(tmp_path, 32)
