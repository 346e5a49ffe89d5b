"""Pictures as users have them, opened as 8-bit RGB or refused by name."""

import io
import os
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm_compression.errors import InputError
from llm_compression.files.paths import user_path
from llm_compression.multimodal.vision.pixels import array_pixels, eight_bit

if TYPE_CHECKING:
    from PIL.Image import Image

_ORIENTATION = 0x0112  # the EXIF tag
# Pillow reads the pixels and EXIF of an open image in place: by one thread at a time.
_LOADING = tuple(threading.Lock() for _ in range(64))
_DAMAGE = (  # what Pillow's decoders raise for damaged files
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, MemoryError,
    struct.error, AssertionError, NotImplementedError, BufferError,
)  # fmt: skip


def as_images(inputs: object) -> tuple[list[object], bool]:
    """Inputs as a list, and whether they were a single picture.

    A path, bytes, a PIL image and an array of two or three axes are one picture; a sequence and
    an array of four axes are many.

    Raises:
        InputError: neither a picture nor a sequence.
    """
    if isinstance(inputs, (str, os.PathLike, bytes, bytearray, memoryview)) or is_pil(inputs):
        return [inputs], True
    if hasattr(inputs, "read"):
        return [inputs], True
    axes = getattr(inputs, "ndim", None)
    if axes is not None:
        many = axes == 4 or (axes > 0 and _of_objects(inputs))
        return (list(inputs), False) if many else ([inputs], True)  # type: ignore[call-overload]
    if isinstance(inputs, Sequence):
        return list(inputs), False
    raise InputError(
        f"images is {type(inputs).__name__}; pass paths, bytes, PIL images or arrays, "
        "one or a sequence of them"
    )


def _of_objects(inputs: Any) -> bool:
    """Whether an array holds paths or pictures, not pixels."""
    return getattr(getattr(inputs, "dtype", None), "kind", "") in ("U", "O")


def name_of(source: object, index: int) -> str:
    """What errors call an input."""
    return str(source) if isinstance(source, (str, os.PathLike)) else f"image {index}"


def open_rgb(source: object, name: str) -> "Image":
    """One picture as 8-bit RGB.

    Turned as its EXIF orientation says; transparency on white; the first frame of an animation;
    16 bits, which Pillow holds in mode I as well, scaled to 8. Floating-point arrays hold 0 to 1,
    integer arrays 0 to 255 or, in uint16, to 65535; axes are (H, W), (H, W, C) or (C, H, W) with
    1, 3 or 4 channels.

    Raises:
        InputError: it is no picture, damaged, or too large; the message names it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return _open(source, name)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{name} is {_what(source)}, not an image that Pillow reads") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{name} is too large to be a picture: {error} Scale it down, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from None
    except PermissionError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error
    except _DAMAGE as error:
        raise InputError(f"{name} is a damaged image: {error}") from error


def _open(source: Any, name: str) -> "Image":
    from PIL import Image

    if is_pil(source):
        with _LOADING[id(source) // 64 % 64]:
            upright = _upright(source)
        return _rgb(upright, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = io.BytesIO(source)
    elif isinstance(source, (str, os.PathLike)):
        source = _existing(source)
    elif hasattr(source, "__array__"):
        return _rgb(Image.fromarray(array_pixels(source, name)), name)
    elif not hasattr(source, "read"):
        raise InputError(
            f"{name} is {type(source).__name__}; pass a path, bytes, a PIL image or an array"
        )
    with Image.open(source) as image:
        return _rgb(_upright(image), name)


def is_pil(source: object) -> bool:
    """Whether it is an image of Pillow."""
    return hasattr(source, "getbands") and hasattr(source, "convert")


def _existing(source: str | os.PathLike[str]) -> Path:
    if str(source).startswith(("http://", "https://")):
        raise InputError(f"{source} is a URL; download it and pass its path or bytes")
    path = user_path(source)
    try:
        found = path.is_file()
    except OSError:  # a name longer than any file's
        found = False
    if not found:
        raise InputError(f"no image file at {str(path)[:200]}")
    return path


def _what(source: object) -> str:
    if isinstance(source, (str, os.PathLike)):
        return "some other data" if user_path(source).stat().st_size else "empty"
    return "some other data" if source else "empty"


def _rgb(image: Any, name: str) -> "Image":
    from PIL import Image

    if 0 in image.size:
        raise InputError(f"{name} is {image.size[0]} x {image.size[1]} pixels; it has none to see")
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert(image.mode.upper())
    if image.mode.startswith(("I", "F")):
        image = _grey(image, name)
    # transformers/image_transforms.py, convert_to_rgb
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    image = image.convert("RGB")
    image.load()
    return image  # type: ignore[no-any-return]


def _grey(image: Any, name: str) -> "Image":
    """A picture of 16 bits or of floats as 8-bit grey, its transparent value as white."""
    from PIL import Image

    numbers = np.asarray(image)
    pixels = eight_bit(numbers, name, sixteen=True)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        pixels[numbers == transparent] = 255
    return Image.fromarray(pixels)


def _upright(image: Any) -> Any:
    """The picture turned as its EXIF orientation says; EXIF that cannot be read says nothing."""
    from PIL import Image

    turn = Image.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE,
        6: turn.ROTATE_270, 7: turn.TRANSVERSE, 8: turn.ROTATE_90,
    }  # fmt: skip
    image.load()  # Pillow turns a TIFF itself, as it reads it
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except _DAMAGE:
        return image
    return image.transpose(turns[orientation]) if orientation in turns else image
