"""Pictures as users have them, opened as 8-bit RGB or refused by name."""

import io
import math
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm_compression.errors import InputError
from llm_compression.files.paths import user_path

if TYPE_CHECKING:
    from PIL.Image import Image

_CHANNELS = (1, 3, 4)
_SIXTEEN_BITS = 257  # 65535 / 255
_DAMAGE = (  # what Pillow's decoders raise for damaged files
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, MemoryError,
    struct.error,
)  # fmt: skip


def as_images(inputs: object) -> tuple[list[object], bool]:
    """Inputs as a list, and whether they were a single picture.

    A path, bytes, a PIL image and an array of two or three axes are one picture; a sequence and
    an array of four axes are many.

    Raises:
        InputError: neither a picture nor a sequence.
    """
    if isinstance(inputs, (str, os.PathLike, bytes, bytearray, memoryview)) or _is_pil(inputs):
        return [inputs], True
    axes = getattr(inputs, "ndim", None)
    if axes is not None:
        return (list(inputs), False) if axes == 4 else ([inputs], True)  # type: ignore[call-overload]
    if isinstance(inputs, Sequence):
        return list(inputs), False
    raise InputError(
        f"images is {type(inputs).__name__}; pass paths, bytes, PIL images or arrays, "
        "one or a sequence of them"
    )


def name_of(source: object, index: int) -> str:
    """What errors call an input."""
    return str(source) if isinstance(source, (str, os.PathLike)) else f"image {index}"


def open_rgb(source: object, name: str) -> "Image":
    """One picture as 8-bit RGB.

    Turned as its EXIF orientation says; transparency on white; the first frame of an animation;
    16 bits scaled to 8. Floating-point arrays hold 0 to 1, integer arrays 0 to 255 or, in uint16,
    to 65535; axes are (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels.

    Raises:
        InputError: it is no picture, damaged, or too large; the message names it.
    """
    from PIL import Image

    if _is_pil(source):
        return _rgb(source, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), name)
    if isinstance(source, (str, os.PathLike)):
        return _decode(_existing(source), name)
    if hasattr(source, "__array__"):
        return _rgb(Image.fromarray(_eight_bit(_array(source, name), name)), name)
    raise InputError(
        f"{name} is {type(source).__name__}; pass a path, bytes, a PIL image or an array"
    )


def _is_pil(source: object) -> bool:
    return hasattr(source, "getbands") and hasattr(source, "convert")


def _existing(source: str | os.PathLike[str]) -> Path:
    if str(source).startswith(("http://", "https://")):
        raise InputError(f"{source} is a URL; download it and pass its path or bytes")
    path = user_path(source)
    if not path.is_file():
        raise InputError(f"no image file at {path}")
    return path


def _decode(file: Path | io.BytesIO, name: str) -> "Image":
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            return _rgb(image, name)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{name} is {_what(file)}, not an image that Pillow reads") from None
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{name} is too large to be a picture: {error} Scale it down, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from None
    except _DAMAGE as error:
        raise InputError(f"{name} is a damaged image: {error}") from error


def _what(file: Path | io.BytesIO) -> str:
    head = file.getvalue()[:1] if isinstance(file, io.BytesIO) else file.open("rb").read(1)
    return "some other data" if head else "empty"


def _rgb(image: Any, name: str) -> "Image":
    from PIL import Image, ImageOps

    if 0 in image.size:
        raise InputError(f"{name} is {image.size[0]} x {image.size[1]} pixels; it has none to see")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_eight_bit(np.asarray(image), name))
    # transformers/image_transforms.py, convert_to_rgb
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    image = image.convert("RGB")
    image.load()
    return image  # type: ignore[no-any-return]


def _array(source: Any, name: str) -> np.ndarray:
    """(H, W) or (H, W, C), channels last."""
    array = np.asarray(source.detach().cpu() if hasattr(source, "detach") else source)
    if array.ndim == 3:
        array = _channels_last(array, name)
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in _CHANNELS):
        raise InputError(
            f"{name} has shape {array.shape}; an array is (H, W), (H, W, C) or (C, H, W) with "
            f"C of {_CHANNELS}"
        )
    if not array.size:
        raise InputError(f"{name} has shape {array.shape}; it has no pixels")
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array


def _channels_last(array: np.ndarray, name: str) -> np.ndarray:
    first, last = array.shape[0], array.shape[2]
    coloured = [axis for axis, size in ((0, first), (2, last)) if size in (3, 4)]
    if len(coloured) == 2:
        raise InputError(
            f"{name} has shape {array.shape}, whose channels may be first or last; pass a PIL "
            "image instead"
        )
    grey = first == 1 and last not in _CHANNELS
    return np.moveaxis(array, 0, 2) if coloured == [0] or grey else array


def _eight_bit(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    low, high = float(array.min()), float(array.max())
    if math.isnan(low) or math.isnan(high):
        raise InputError(f"{name} holds NaN pixels; repair or leave it out")
    floating = np.issubdtype(array.dtype, np.floating)
    wide = not floating and array.dtype.itemsize > 1 and (high > 255 or array.dtype == np.uint16)
    most = 1 if floating else 65535 if wide else 255
    if low < 0 or high > most:
        raise InputError(
            f"{name} holds {array.dtype} values from {low:g} to {high:g}; floating-point pixels "
            "lie in 0..1, integer ones in 0..255, 16-bit ones in 0..65535"
        )
    scale = 255 if floating else 1 / _SIXTEEN_BITS if wide else 1
    return np.ascontiguousarray(np.rint(array * scale), np.uint8)
