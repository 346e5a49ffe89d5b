"""Pixel values are, to the last bit, those of transformers' CLIP processor on Pillow."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image, ImageOps

from llm_compression.conversion.preprocessing import read_preprocessing
from llm_compression.errors import InputError
from llm_compression.multimodal.vision import processor as image_processor
from llm_compression.multimodal.vision.processor import ImageProcessor
from tests.conftest import write_json
from tests.multimodal.pictures import CLEARS, PICTURE, encoded, picture, plain, turned

# release 5 has the processor on Pillow under a name of its own
Reference = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
Make = Callable[..., tuple[ImageProcessor, Any]]

SIZES = [
    (1, 1), (1, 7), (9, 1), (2, 3), (37, 23), (24, 16), (223, 224), (224, 224), (225, 224),
    (224, 225), (227, 231), (300, 700), (640, 480), (3, 150), (400, 30),
]  # fmt: skip
PREPROCESSINGS: dict[str, dict[str, object]] = {
    "clip": {},
    "clip 336": {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}},
    "small": {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
    "odd": {"size": {"shortest_edge": 51}, "crop_size": {"height": 47, "width": 46}},
    "old": {"size": 32, "crop_size": 32},
    "nearest": {"resample": 0},
    "lanczos": {"resample": 1},
    "bilinear": {"resample": 2},
    "box": {"resample": 4},
    "hamming": {"resample": 5},
    "exact size, no crop": {"size": {"height": 40, "width": 56}, "do_center_crop": False},
    "exact size and crop": {
        "size": {"height": 41, "width": 56},
        "crop_size": {"height": 30, "width": 31},
    },
    "crop larger": {"size": {"shortest_edge": 40}, "crop_size": {"height": 64, "width": 64}},
    "crop larger by one": {"size": {"shortest_edge": 40}, "crop_size": {"height": 41, "width": 43}},
    "crop wider": {
        "size": {"height": 40, "width": 40},
        "crop_size": {"height": 30, "width": 45},
    },
    "crop higher": {
        "size": {"height": 40, "width": 40},
        "crop_size": {"height": 45, "width": 30},
    },
    "no resize": {"do_resize": False, "crop_size": {"height": 64, "width": 65}},
    "no rescale": {"do_rescale": False},
    "no normalise": {"do_normalize": False},
    "levels as they are": {"do_rescale": False, "do_normalize": False},
    "to -1..1": {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
    "half": {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.125]},
}  # fmt: skip
MODES = ["RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "RGBX"]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Our processor and theirs, by the same file."""

    def both(**changes: object) -> tuple[ImageProcessor, Any]:
        write_json(tmp_path / "preprocessor_config.json", changes)
        spec, _ = read_preprocessing(tmp_path, 224)
        return ImageProcessor(spec), Reference(**changes)

    return both


def reference(processor: Any, image: Image.Image) -> np.ndarray:
    """(C, H, W) float32; levels that are neither scaled nor normalised are integers there."""
    found = processor(image, return_tensors="np", input_data_format="channels_last")
    return np.asarray(found["pixel_values"][0], np.float32)


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert (ours.dtype, ours.shape) == (np.float32, theirs.shape)
    assert ours.tobytes() == theirs.tobytes(), f"differ by {np.abs(ours - theirs).max()}"


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_every_preprocessing(name: str, make: Make):
    ours, theirs = make(**PREPROCESSINGS[name])
    for size in SIZES[:-5] if name == "clip 336" else SIZES:
        image = picture(*size)
        same(ours.pixels(image, "image"), reference(theirs, image))


@pytest.mark.parametrize("mode", MODES)
def test_every_mode(mode: str, make: Make):
    ours, theirs = make(**PREPROCESSINGS["small"])
    for size in [(40, 30), (31, 77), (1, 1)]:
        image = picture(*size).convert(mode)
        same(ours.pixels(image, "image"), reference(theirs, image))


@pytest.mark.parametrize("kind", [kind for kind in CLEARS if isinstance(CLEARS[kind], bytes)])
def test_what_is_transparent(kind: str, make: Make):
    """White in release 5; release 4 showed what lies below."""
    ours, theirs = make(**PREPROCESSINGS["small"])
    white = reference(theirs, plain("white"))
    same(ours.pixels(CLEARS[kind], kind), white)


def test_half_transparent(make: Make):
    ours, theirs = make(**PREPROCESSINGS["small"])
    image = picture(40, 30).convert("RGBA")
    image.putalpha(picture(40, 30, 1).convert("L"))
    white = Image.new("RGBA", image.size, "white")
    flat = Image.alpha_composite(white, image).convert("RGB")
    same(ours.pixels(image, "image"), reference(theirs, flat))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned(orientation: int, make: Make, tmp_path: Path):
    ours, theirs = make(**PREPROCESSINGS["small"])
    path = tmp_path / "turned.png"
    path.write_bytes(turned(picture(50, 30), orientation))
    same(ours.pixels(path, "turned"), reference(theirs, ImageOps.exif_transpose(Image.open(path))))


@pytest.mark.parametrize("name", ["clip", "clip 336"])
def test_photographs(name: str, make: Make, assets: Path):
    ours, theirs = make(**PREPROCESSINGS[name])
    photographs = sorted((assets / "coco" / "images").glob("*.jpg"))
    assert len(photographs) == 60
    for path in photographs[:: 1 if name == "clip" else 6]:
        with Image.open(path) as image:
            same(ours.pixels(path, path.name), reference(theirs, ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (2, 20_001)])
def test_a_thin_strip_is_not_resized_as_a_whole(
    size: tuple[int, int], make: Make, monkeypatch: pytest.MonkeyPatch
):
    """Of 224 x 4,480,000 pixels, 3 GB, only the crop is wanted."""
    made, resize = [], Image.Image.resize

    def watched(image: Image.Image, size: tuple[int, int], *args: object, **options: object):
        made.append(size[0] * size[1])
        assert made[-1] <= 1 << 26
        return resize(image, size, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", watched)
    ours, _ = make()
    pixels = ours.pixels(picture(*size), "strip")
    assert made
    assert pixels.shape == (3, 224, 224)
    assert np.isfinite(pixels).all()


@pytest.mark.parametrize("resample", range(6))
@pytest.mark.parametrize("size", [(3, 150), (151, 4), (40, 31), (64, 65), (100, 200)])
def test_of_a_thin_strip_the_same_part(
    size: tuple[int, int], resample: int, make: Make, monkeypatch: pytest.MonkeyPatch
):
    """What is cut before it is resized is what would be cut after, but for rounding.

    Pillow clips between its two passes and chooses which comes first by the sizes; `nearest`
    has ties.
    """
    monkeypatch.setattr(image_processor, "_MOST_PIXELS", 0)
    sides = {"size": {"shortest_edge": 51}, "crop_size": {"height": 46, "width": 47}}
    ours, theirs = make(**PREPROCESSINGS["levels as they are"], **sides, resample=resample)
    image = picture(*size)
    levels = np.abs(ours.pixels(image, "strip") - reference(theirs, image))
    assert (levels > 1).mean() < 0.05


def test_a_strip_thinner_than_the_crop_is_padded(make: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(image_processor, "_MOST_PIXELS", 0)
    for name in ("crop larger", "crop wider", "crop higher"):
        ours, theirs = make(**PREPROCESSINGS[name])
        for size in [(3, 150), (150, 3)]:
            same(ours.pixels(picture(*size), "strip"), reference(theirs, picture(*size)))


def test_one_and_many_are_a_batch(make: Make, tmp_path: Path):
    ours, _ = make(**PREPROCESSINGS["small"])
    path = tmp_path / "picture.png"
    PICTURE.save(path)
    one = ours.pixels(PICTURE, "image")
    same(ours(PICTURE), one[None])
    array = np.asarray(PICTURE)
    for many in ([path, encoded(PICTURE), PICTURE, array], np.stack([array] * 4)):
        same(ours(many), np.stack([one] * 4))


def test_none_are_an_empty_batch(make: Make):
    for name, sides in [("small", (32, 32)), ("exact size, no crop", (40, 56)), ("odd", (47, 46))]:
        ours, _ = make(**PREPROCESSINGS[name])
        assert ours([]).shape == (0, 3, *sides)
        assert ours([]).dtype == np.float32


def test_the_one_that_is_no_picture_is_named(make: Make, tmp_path: Path):
    ours, _ = make(**PREPROCESSINGS["small"])
    with pytest.raises(InputError, match="image 1 is some other data"):
        ours([PICTURE, b"no picture", PICTURE])
    with pytest.raises(InputError, match=re.escape(f"no image file at {tmp_path / 'missing.jpg'}")):
        ours([PICTURE, tmp_path / "missing.jpg"])
    with pytest.raises(InputError, match="image 0 holds NaN"):
        ours(np.full((1, 8, 9, 3), np.nan))
