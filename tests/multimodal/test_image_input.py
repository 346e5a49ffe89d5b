"""Whatever is a picture opens as a user would see it; whatever is none is refused by name."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llm_compression.errors import InputError
from llm_compression.multimodal.vision.input import as_images, name_of, open_rgb
from tests.multimodal.pictures import (
    BLUE,
    CLEARS,
    GREEN,
    GREY,
    GREYS,
    KINDS,
    PICTURE,
    RED,
    RGB,
    SAME,
    WHITE,
    encoded,
    frames,
    opened,
    palette,
    picture,
    plain,
    turned,
)

LEVELS = np.arange(256).reshape(16, 16)  # every value that a channel can have


def seen(source: object, name: str = "image 0") -> np.ndarray:
    """(H, W, 3) of the opened picture."""
    image = open_rgb(source, name)
    assert image.mode == "RGB"
    return np.asarray(image)


def refused(source: object, name: str = "image 7") -> str:
    """What the error says, which has to name the picture."""
    with pytest.raises(InputError, match=re.escape(name)) as caught:
        open_rgb(source, name)
    return str(caught.value)


@pytest.mark.parametrize("kind", SAME)
def test_one_picture_however_it_comes(kind: str):
    np.testing.assert_array_equal(seen(SAME[kind]), RGB)


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    PICTURE.save(tmp_path / "a picture.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (tmp_path / "a picture.png", str(tmp_path / "a picture.png"), "~/a picture.png"):
        np.testing.assert_array_equal(seen(path), RGB)


def test_the_content_says_what_a_file_is_not_its_name(tmp_path: Path):
    (tmp_path / "picture.jpg").write_bytes(encoded(PICTURE, "PNG"))
    np.testing.assert_array_equal(seen(tmp_path / "picture.jpg"), RGB)


@pytest.mark.parametrize("kind", GREYS)
def test_grey_is_the_same_in_three_channels(kind: str):
    np.testing.assert_array_equal(seen(GREYS[kind]), np.dstack([GREY] * 3))


def test_true_is_white():
    mask = GREY > 100
    np.testing.assert_array_equal(seen(mask), np.dstack([mask * 255] * 3))
    np.testing.assert_array_equal(seen(np.dstack([mask] * 3)), np.dstack([mask * 255] * 3))
    np.testing.assert_array_equal(seen(torch.from_numpy(mask)), np.dstack([mask * 255] * 3))


@pytest.mark.parametrize("kind", ["uint8", "int64", "uint16", "float16", "float32", "float64"])
def test_every_level_is_kept(kind: str):
    scale = {"uint16": 257, "float16": 1 / 255, "float32": 1 / 255, "float64": 1 / 255}
    array = (LEVELS * scale.get(kind, 1)).astype(kind)
    np.testing.assert_array_equal(seen(array)[..., 0], LEVELS)


def test_levels_in_between_round_to_the_nearest():
    sixteen = np.array([[0, 128, 129, 32767, 32896, 65406, 65407, 65535]], np.uint16)
    assert seen(sixteen)[0, :, 0].tolist() == [0, 0, 1, 127, 128, 254, 255, 255]
    floats = np.array([[0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 254.6 / 255, 1]])
    assert seen(floats)[0, :, 0].tolist() == [0, 0, 1, 254, 255, 255]


def test_a_dark_uint16_array_stays_dark():
    """Its type says what white is, not its brightest pixel."""
    assert seen(np.full((5, 6), 255, np.uint16)).max() == 1


def test_bfloat16_which_numpy_lacks():
    levels = seen(torch.from_numpy(RGB / 255).bfloat16()).astype(int)
    assert np.abs(levels - RGB).max() <= 1


@pytest.mark.parametrize("shape", [(5, 7, 3), (3, 5, 7), (5, 7, 4), (4, 5, 7), (5, 7), (1, 5, 7)])
def test_axes_of_an_array(shape: tuple[int, ...]):
    assert seen(np.zeros(shape, np.uint8)).shape == (5, 7, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (4, 4)])
def test_as_small_as_a_pixel(size: tuple[int, int]):
    assert seen(encoded(plain(RED, "RGB", *size))).tolist() == [[[*RED]] * size[0]] * size[1]


def test_what_was_passed_is_not_changed():
    image, array = opened(turned(PICTURE, 6)), RGB.copy()
    assert seen(image).shape == (24, 16, 3)
    seen(array)
    seen(array / 255)
    assert (image.size, image.mode, image.getexif()[0x0112]) == (PICTURE.size, "RGB", 6)
    np.testing.assert_array_equal(np.asarray(image), RGB)
    np.testing.assert_array_equal(array, RGB)
    open_rgb(PICTURE, "image 0").paste(RED, (0, 0, 24, 16))
    np.testing.assert_array_equal(np.asarray(PICTURE), RGB)


# One picture or many


def test_single_pictures_and_many(tmp_path: Path):
    tensor = torch.zeros(3, 8, 9)
    for single in ("a.png", tmp_path, b"x", bytearray(b"x"), PICTURE, RGB, GREY, tensor):
        images, alone = as_images(single)
        assert alone
        assert len(images) == 1
        assert images[0] is single
    batch = np.zeros((5, 8, 9, 3), np.uint8)
    for many, count in [(["a", "b"], 2), ((PICTURE,), 1), ([], 0), (batch, 5), (batch[:1], 1),
                        (batch[:0], 0), (torch.zeros(2, 3, 8, 9), 2), (np.array(["a", "b"]), 2),
                        (np.array([PICTURE, RGB, "a"], object), 3)]:  # fmt: skip
        images, alone = as_images(many)
        assert not alone
        assert len(images) == count


def test_the_pictures_of_a_batch_keep_their_order():
    batch = np.stack([np.full((8, 9, 3), level, np.uint8) for level in range(5)])
    for images, _ in (as_images(batch), as_images(torch.from_numpy(batch))):
        assert [seen(image).max() for image in images] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("inputs", [None, 7, {"a.png"}, {"a": 1}, iter(["a.png"])], ids=repr)
def test_neither_a_picture_nor_a_sequence(inputs: object):
    with pytest.raises(InputError, match=f"images is {type(inputs).__name__}; pass paths, bytes"):
        as_images(inputs)


def test_names():
    assert name_of("a/b.png", 3) == "a/b.png"
    assert name_of(Path("a/b.png"), 3) == str(Path("a/b.png"))
    for source in (b"", bytearray(), RGB, PICTURE, None):
        assert name_of(source, 3) == "image 3"


# Turned, transparent, of other kinds

SHOWN: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF 2.32, tag 0x0112
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_a_picture_is_shown_as_its_exif_says(orientation: int, kind: str, tmp_path: Path):
    content = turned(PICTURE, orientation, kind)
    stored = np.asarray(opened(turned(PICTURE, 1, kind)).convert("RGB"))
    wanted = SHOWN[orientation](stored)
    assert orientation == 1 or wanted.tobytes() != stored.tobytes()
    (tmp_path / "turned").write_bytes(content)
    for source in (content, tmp_path / "turned", opened(content)):
        np.testing.assert_array_equal(seen(source), wanted)


def test_16_bits_are_turned_too():
    wide = Image.fromarray(GREY.astype(np.uint16) * 257)
    np.testing.assert_array_equal(seen(turned(wide, 6))[..., 0], np.rot90(GREY, -1))


@pytest.mark.parametrize("orientation", [0, 9, 99])
def test_an_orientation_that_does_not_exist(orientation: int):
    np.testing.assert_array_equal(seen(turned(PICTURE, orientation)), RGB)


SHORT = b"MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03"  # five entries, none of them whole


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("junk", [b"not a TIFF header", SHORT, b""])
def test_exif_that_is_none(junk: bytes, kind: str):
    """A picture is worth more than what is said about it."""
    content = encoded(PICTURE, kind, exif=b"Exif\0\0" + junk)
    np.testing.assert_array_equal(seen(content), seen(encoded(PICTURE, kind)))


@pytest.mark.parametrize("kind", CLEARS)
def test_what_is_transparent_shows_white(kind: str):
    assert (seen(CLEARS[kind]) == 255).all()


@pytest.mark.parametrize("alpha", [0, 1, 64, 127, 128, 200, 254, 255])
def test_half_transparent_is_a_blend_with_white(alpha: int):
    shown = seen(plain((10, 120, 250, alpha), "RGBA"))[0, 0].astype(int)
    wanted = [(colour * alpha + 255 * (255 - alpha)) / 255 for colour in (10, 120, 250)]
    assert np.abs(shown - wanted).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
@pytest.mark.parametrize("transparency", [0, 1])
def test_one_colour_of_a_palette_is_transparent(kind: str, transparency: int):
    row = seen(encoded(palette(), kind, transparency=transparency))[0].tolist()
    halves = [WHITE, BLUE] if transparency == 0 else [RED, WHITE]
    assert row == [list(colour) for colour in halves for _ in range(2)]


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_of_pixels(kind: str):
    source, colour = KINDS[kind]
    assert np.abs(seen(source).astype(int) - colour).max() <= 1


def test_16_bits_keep_their_whole_range():
    """Not clipped at 255, which Pillow's own conversion does."""
    ramp = Image.fromarray((LEVELS * 257).astype(np.uint16))
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(seen(encoded(ramp, kind))[..., 0], LEVELS)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_picture_of_many(kind: str):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = frames(kind, plain(RED), plain(GREEN), plain(BLUE), **options)
    assert opened(content).n_frames == 3
    assert (seen(content) == RED).all()


def test_one_transparent_value_of_16_bits():
    values = Image.fromarray(np.array([[0, 65535], [257, 0]], np.uint16))
    assert seen(encoded(values, transparency=0))[..., 0].tolist() == [[255, 255], [1, 255]]


def test_one_picture_not_loaded_yet_on_many_threads():
    content = encoded(picture(300, 300))
    for _ in range(5):
        shared = opened(content)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(seen, [shared] * 16))
        np.testing.assert_array_equal(np.stack(found), [found[0]] * 16)
    np.testing.assert_array_equal(found[0], seen(content))


def test_one_turned_picture_on_many_threads(monkeypatch: pytest.MonkeyPatch):
    """Pillow marks the EXIF of an image as read before it has read it."""
    load = Image.Exif.load

    def slow(exif: Image.Exif, content: bytes) -> None:
        time.sleep(0.02)
        load(exif, content)

    monkeypatch.setattr(Image.Exif, "load", slow)
    shared = opened(turned(PICTURE, 6))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(seen, [shared] * 8))
    assert {pixels.shape for pixels in found} == {(24, 16, 3)}
