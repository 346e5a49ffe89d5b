"""ImageProcessor: pictures to the pixel values that a vision tower takes."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llm_compression.multimodal.vision.input import as_images, name_of, open_rgb
from llm_compression.spec.image import ImageSpec

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_PIXELS = 1 << 26  # a resized picture beyond this is cut before it is resized
Size = tuple[int, int]  # height, width


class ImageProcessor:
    """Resize, centre crop, scale and normalise, bit-equal to transformers' processor on Pillow.

    (image_processing_backends.py, PilBackend; image_transforms.py.) Only a strip so thin that it
    would be resized to more than 67 megapixels is cut first, which may change its rounding.
    Pixels are scaled and normalised by a table of the 256 values that a channel can have.
    """

    def __init__(self, spec: ImageSpec) -> None:
        self.spec = spec
        values = (np.arange(256, dtype=np.float64) * spec.scale).astype(np.float32)
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        self._table = ((values[:, None] - mean) / std).T.copy()  # (C, 256)

    def __call__(self, images: object) -> np.ndarray:
        """Pictures (see `open_rgb`) -> (B, C, H, W) float32, a single one too.

        Raises:
            InputError: one of them is no picture; the message names it.
        """
        sources, _ = as_images(images)
        return self.stack([self.pixels(s, name_of(s, i)) for i, s in enumerate(sources)])

    def stack(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Equal pictures (C, H, W) -> (B, C, H, W)."""
        if pixels:
            return np.stack(pixels)
        return np.empty((0, len(self.spec.mean), *(self.spec.output or (0, 0))), np.float32)

    def pixels(self, source: object, name: str) -> np.ndarray:
        """One picture -> (C, H, W) float32; ``name`` is what errors call it.

        Raises:
            InputError: it is no picture.
        """
        cropped = self._cropped(open_rgb(source, name))  # (H, W, C) uint8
        channels = [np.take(row, cropped[..., c]) for c, row in enumerate(self._table)]
        return np.stack(channels)

    def _cropped(self, image: "Image") -> np.ndarray:
        height, width = self._resized(image.height, image.width)
        crop = self.spec.crop
        if crop and height * width > _MOST_PIXELS and height >= crop[0] and width >= crop[1]:
            return _resize_part(image, (height, width), crop, self.spec.resample.value)
        if (height, width) != (image.height, image.width) or self._resizes:
            image = image.resize((width, height), _filter(self.spec.resample.value))
        pixels = np.asarray(image)
        return _centre(pixels, crop) if crop else pixels

    @property
    def _resizes(self) -> bool:
        return self.spec.shortest_edge is not None or self.spec.size is not None

    def _resized(self, height: int, width: int) -> Size:
        if self.spec.size:
            return self.spec.size[0], self.spec.size[1]
        short = self.spec.shortest_edge
        if short is None:
            return height, width
        # image_transforms.py, get_resize_output_image_size
        long = int(short * max(height, width) / min(height, width))
        return (long, short) if width <= height else (short, long)


def _filter(name: str) -> int:
    from PIL import Image

    return int(Image.Resampling[name.upper()])


def _centre(pixels: np.ndarray, crop: Sequence[int]) -> np.ndarray:
    """(H, W, C) -> the middle of ``crop``, black where it lies outside.

    image_transforms.py, center_crop.
    """
    tops = [(have - want) // 2 for have, want in zip(pixels.shape, crop, strict=False)]
    if min(tops) < 0:
        whole = [max(have, want) for have, want in zip(pixels.shape, crop, strict=False)]
        pads = [math.ceil((w - have) / 2) for w, have in zip(whole, pixels.shape, strict=False)]
        wide = np.zeros((*whole, pixels.shape[2]), pixels.dtype)
        wide[pads[0] : pads[0] + pixels.shape[0], pads[1] : pads[1] + pixels.shape[1]] = pixels
        pixels, tops = wide, [top + pad for top, pad in zip(tops, pads, strict=True)]
    return pixels[tops[0] : tops[0] + crop[0], tops[1] : tops[1] + crop[1]]


def _resize_part(image: "Image", size: Size, crop: Sequence[int], resample: str) -> np.ndarray:
    """The middle of the resized picture, without the rest: of a thin strip that is enormous."""
    top, left = (size[0] - crop[0]) // 2, (size[1] - crop[1]) // 2
    down, right = image.height / size[0], image.width / size[1]
    part = image.resize(
        (crop[1], crop[0]),
        _filter(resample),
        box=(left * right, top * down, (left + crop[1]) * right, (top + crop[0]) * down),
    )
    return np.asarray(part)
