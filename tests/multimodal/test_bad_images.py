"""Whatever is no picture, or no whole one, is refused by an error that names it."""

import io
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llm_compression.errors import InputError
from llm_compression.multimodal.vision.input import as_images, open_rgb
from tests.multimodal.pictures import FILES, PICTURE, RGB, encoded, opened, plain, png


def refused(source: object, name: str = "image 7") -> str:
    """What the error says, which has to name the picture."""
    with pytest.raises(InputError, match=re.escape(name)) as caught:
        open_rgb(source, name)
    return str(caught.value)


def outcome(content: bytes) -> np.ndarray | str:
    """The picture, or what the error says."""
    try:
        return np.asarray(open_rgb(content, "some.jpg"))
    except InputError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damage before it fails
@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_short_is_never_another_picture(kind: str):
    """Wherever it ends: an error or, where only its end mark is lost, the whole picture."""
    content = FILES[kind]
    ends = {*range(64), *np.linspace(64, len(content) - 1, 100, dtype=int).tolist()}
    found = [outcome(content[:end]) for end in sorted(ends)]
    for picture in found:
        if not isinstance(picture, str):
            np.testing.assert_array_equal(picture, np.asarray(open_rgb(content, "x")))
    errors = [error for error in found if isinstance(error, str)]
    assert len(errors) > 50
    assert all(error.startswith("some.jpg is ") for error in errors)


def test_a_truncated_jpeg(tmp_path: Path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(FILES["jpeg"][: len(FILES["jpeg"]) // 2])
    assert refused(path, str(path)).startswith(f"{path} is a damaged image: image file is trunc")


def test_a_truncated_picture_that_pillow_has_opened():
    """It reads the header alone; what is wrong shows when the pixels are wanted."""
    message = refused(opened(FILES["jpeg"][:900]))
    assert message.startswith("image 7 is a damaged image: image file is truncated")
    closed = opened(FILES["jpeg"])
    closed.close()
    refused(closed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FILES)
def test_damage_is_an_input_error_or_nothing(kind: str):
    rng = random.Random(kind)
    errors = []
    for _ in range(40):
        content = bytearray(FILES[kind])
        for _ in range(rng.choice([1, 4, 16])):
            place = rng.randrange(min(len(content), 400))
            content[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        found = outcome(bytes(content))
        errors += [found] if isinstance(found, str) else []
    assert errors
    assert all(error.startswith("some.jpg is ") for error in errors)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"This is a text about a cat.\n" * 20, "some other data"),
        (b"<!doctype html><html><body>404</body></html>", "some other data"),
        (bytes(5000), "some other data"),
        (FILES["jpeg"][:2], "some other data"),
    ],
    ids=["empty", "text", "page", "zeros", "two bytes"],
)
def test_a_file_that_is_no_picture(content: bytes, what: str, tmp_path: Path):
    path = tmp_path / "cat.jpg"
    path.write_bytes(content)
    assert refused(path, str(path)) == f"{path} is {what}, not an image that Pillow reads"
    assert refused(content) == f"image 7 is {what}, not an image that Pillow reads"


def test_a_text_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "cat.jpg").write_text("no picture")
    assert "is some other data" in refused("~/cat.jpg", "~/cat.jpg")


def test_an_open_file_that_is_no_picture():
    assert "is some other data" in refused(io.BytesIO(b"no picture"))


def test_what_no_array_can_be_made_of():
    refused(torch.zeros(3, 8, 9, device="meta"))
    refused(memoryview(b"abcdefgh")[::2])
    assert as_images(np.array(None))[1]
    assert "is an array of object" in refused(np.array(None))


@pytest.mark.parametrize("side", [20_000, 60_000])
def test_a_picture_of_too_many_pixels(side: int, tmp_path: Path):
    """Refused by its header: the rows that would follow are not even there."""
    path = tmp_path / "huge.png"
    path.write_bytes(png(side, side, 1, 0, b""))
    message = refused(path, str(path))
    assert message.startswith(f"{path} is too large to be a picture: Image size ({side * side} ")
    assert message.endswith("or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it")
    refused(path.read_bytes())


def test_pillows_own_limit_is_obeyed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RGB[..., 0].size // 2 - 1)
    assert "too large to be a picture" in refused(encoded(PICTURE))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    np.testing.assert_array_equal(np.asarray(open_rgb(encoded(PICTURE), "x")), RGB)


def test_no_file(tmp_path: Path):
    for path in (tmp_path / "missing.png", tmp_path, "missing.png"):
        assert refused(path, str(path)) == f"no image file at {path}"
    for url in ("http://example.org/cat.jpg", "https://example.org/cat.jpg"):
        assert refused(url, url) == f"{url} is a URL; download it and pass its path or bytes"
    assert refused("data:image/jpeg;base64," + "A" * 5000, "data:image").endswith("A" * 100)
    assert "null byte" in refused("a\0b.png", "a\\x00b.png")
    with pytest.raises(InputError, match="the path is empty"):
        open_rgb("", "")


@pytest.mark.parametrize("source", [None, 7, 1.5, ["a.png"], {}, object], ids=repr)
def test_of_no_known_type(source: object):
    kind = type(source).__name__
    assert refused(source) == f"image 7 is {kind}; pass a path, bytes, a PIL image or an array"


SHAPES = [(), (5,), (5, 7, 2), (2, 5, 7), (5, 7, 5), (5, 3, 7), (5, 7, 9, 3), (1, 2, 3, 5, 7)]


@pytest.mark.parametrize("shape", SHAPES)
def test_axes_that_no_picture_has(shape: tuple[int, ...]):
    for array in (np.zeros(shape), torch.zeros(shape)):
        assert "(H, W), (H, W, C) or (C, H, W) with C of (1, 3, 4)" in refused(array)


@pytest.mark.parametrize("shape", [(3, 3, 3), (4, 9, 3), (3, 9, 4), (4, 4, 4)])
def test_channels_first_or_last(shape: tuple[int, ...]):
    message = f"image 7 has shape {shape}, whose channels may be first or last"
    assert refused(np.zeros(shape)).startswith(message)


@pytest.mark.parametrize("shape", [(0, 0), (0, 7), (0, 7, 3), (7, 0, 3), (3, 0, 7), (3, 7, 0)])
def test_without_a_pixel(shape: tuple[int, ...]):
    assert refused(np.zeros(shape)).endswith("it has no pixels")


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_a_pil_image_without_a_pixel(size: tuple[int, int]):
    expected = f"image 7 is {size[0]} x {size[1]} pixels; it has none to see"
    assert refused(Image.new("RGB", size)) == expected


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (3, 5, 7)])
def test_one_pixel_that_is_no_number(shape: tuple[int, ...], kind: type):
    array = np.zeros(shape, kind)
    array.flat[-1] = np.nan
    assert refused(array) == "image 7 holds NaN pixels; repair or leave it out"
    assert "NaN" in refused(torch.from_numpy(array))


def test_a_tiff_with_a_pixel_that_is_no_number(tmp_path: Path):
    path = tmp_path / "depth.tiff"
    plain(np.nan, "F").save(path)
    assert refused(path, str(path)) == f"{path} holds NaN pixels; repair or leave it out"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("float32", 255.0), ("float32", 1.001), ("float64", -0.001), ("float64", np.inf),
        ("float32", -np.inf), ("int64", -1), ("int8", -1), ("int64", 65536), ("uint32", 1 << 20),
    ],
)  # fmt: skip
def test_values_out_of_range(kind: str, value: float):
    array = np.zeros((5, 7, 3), kind)
    array[2, 3, 1] = value
    message = refused(array)
    assert message.startswith(f"image 7 holds {kind} values from ")
    assert f"{value:g}" in message
    assert message.endswith("lie in 0..1, integer ones in 0..255, 16-bit ones in 0..65535")


def test_integers_are_not_taken_for_16_bits():
    """Or a picture that was made a little too bright would come out black."""
    assert "values from 300 to 300" in refused(np.full((5, 6), 300))


@pytest.mark.parametrize("kind", ["complex64", "object", "U1", "S1", "M8[s]"])
def test_no_numbers(kind: str):
    message = f"image 7 is an array of {np.dtype(kind)}; pixels are numbers"
    assert refused(np.zeros((5, 6, 3), kind)) == message


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_pil_image_out_of_range(mode: str):
    assert "image 7 holds" in refused(plain(-5, mode))
    assert "image 7 holds" in refused(encoded(plain(70000, mode), "TIFF"))
