"""ImageSpec: from a picture to the pixel values that a vision tower takes."""

import math
from dataclasses import dataclass
from enum import Enum

from llm_compression.errors import SpecError


class Resample(Enum):
    """The filter of a resize, under Pillow's name for it."""

    NEAREST = "nearest"
    LANCZOS = "lanczos"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"


@dataclass(frozen=True)
class ImageSpec:
    """Resize, centre crop, scale, normalise, in this order; None leaves a step out.

    ``shortest_edge`` keeps the aspect ratio, ``size`` (height, width) does not; at most one of
    them is set. ``crop`` is (height, width). A value v of channel c becomes
    ``(v * scale - mean[c]) / std[c]``.
    """

    shortest_edge: int | None
    size: tuple[int, ...] | None
    resample: Resample
    crop: tuple[int, ...] | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.shortest_edge is not None and self.size is not None:
            raise SpecError("image.shortest_edge and image.size are both set; one of them resizes")
        for name in ("size", "crop"):
            pair = getattr(self, name)
            if pair is not None and (len(pair) != 2 or min(pair) < 1):
                raise SpecError(f"image.{name} is {pair}; it must be a height and a width")
        if self.shortest_edge is not None and self.shortest_edge < 1:
            raise SpecError(f"image.shortest_edge is {self.shortest_edge}; it must be at least 1")
        if not all(map(math.isfinite, (self.scale, *self.mean, *self.std))):
            raise SpecError("image.scale, image.mean and image.std must be finite")
        if len(self.mean) != len(self.std) or 0 in self.std:
            raise SpecError(f"image.mean {self.mean} and image.std {self.std} do not fit")

    @property
    def output(self) -> tuple[int, int] | None:
        """Height and width that come out; None where they depend on the picture."""
        pair = self.crop or self.size
        return (pair[0], pair[1]) if pair else None
