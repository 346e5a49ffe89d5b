"""Pictures for tests, in every form that a user may have them."""

import io
import struct
import zlib

import numpy as np
import torch
from PIL import Image

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3, (0,) * 3
MIDDLE = (128, 128, 128)
_ORIENTATION = 0x0112  # the EXIF tag


def picture(width: int = 24, height: int = 16, seed: int = 0) -> Image.Image:
    """Smooth colours, another in each corner, and noise: no turn of it is like another."""
    rng = np.random.default_rng(seed)
    rows, columns = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    smooth = np.stack([rows, columns, rows * (1 - columns)], axis=-1)
    return Image.fromarray((smooth * 200 + rng.uniform(0, 50, smooth.shape)).astype(np.uint8))


def plain(colour: object, mode: str = "RGB", width: int = 12, height: int = 10) -> Image.Image:
    """One colour all over."""
    return Image.new(mode, (width, height), colour)  # type: ignore[arg-type]


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def opened(content: bytes) -> Image.Image:
    """A file as Pillow opens it: nothing but its header is read."""
    return Image.open(io.BytesIO(content))


def turned(image: Image.Image, orientation: int, kind: str = "PNG") -> bytes:
    """A file of ``image`` whose EXIF says how to turn it."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return encoded(image, kind, exif=exif)


def frames(kind: str, *images: Image.Image, **options: object) -> bytes:
    """A file of several pictures."""
    return encoded(images[0], kind, save_all=True, append_images=images[1:], **options)


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG file by hand; each row begins with its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    """One part of a PNG file."""
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def palette() -> Image.Image:
    """Two red columns and two blue ones, by a palette of these two."""
    image = Image.new("P", (4, 2), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (2, 0, 4, 2))
    return image


def strided(array: np.ndarray) -> np.ndarray:
    """The same values, none beside the next in memory."""
    every_other = tuple(slice(None, None, 2) for _ in array.shape)
    wide = np.zeros([2 * size for size in array.shape], array.dtype)
    wide[every_other] = array
    return wide[every_other]


def frozen(array: np.ndarray) -> np.ndarray:
    """A copy that cannot be written to."""
    array = array.copy()
    array.flags.writeable = False
    return array


def _key(*values: int) -> bytes:
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


PICTURE = picture()
PICTURES = [picture(20 + 3 * i, 50 - 2 * i, seed=i) for i in range(11)]
RGB = np.asarray(PICTURE)  # (16, 24, 3)
CHW, GREY = np.moveaxis(RGB, 2, 0), RGB[..., 0]
_CLEAR = (10, 20, 30, 0)
_RED_HALF = palette().crop((0, 0, 2, 2))

SAME: dict[str, object] = {  # all of them PICTURE
    "bytes": encoded(PICTURE),
    "bytearray": bytearray(encoded(PICTURE)),
    "memoryview": memoryview(encoded(PICTURE)),
    "pil": PICTURE,
    "pil, not loaded yet": opened(encoded(PICTURE)),
    "an open file": io.BytesIO(encoded(PICTURE)),
    "uint8": RGB,
    "uint8, channels first": CHW,
    "not writable": frozen(RGB),
    "strided": strided(RGB),
    "upside down in memory": RGB[::-1].copy()[::-1],
    "uint16": RGB.astype(np.uint16) * 257,
    "uint16, other byte order": (RGB.astype(np.uint16) * 257).astype(">u2"),
    "int64": RGB.astype(np.int64),
    "int16": RGB.astype(np.int16),
    "float16": (RGB / 255).astype(np.float16),
    "float32": (RGB / 255).astype(np.float32),
    "float64, channels first": CHW / 255,
    "opaque": np.dstack([RGB, np.full_like(GREY, 255)]),
    "torch": torch.from_numpy(RGB.copy()),
    "torch, channels first": torch.from_numpy(CHW.copy()),
    "torch, float": torch.from_numpy(CHW / 255),
    "torch, half": torch.from_numpy(CHW / 255).half(),
    "torch, with gradient": torch.tensor(CHW / 255, requires_grad=True),
}
GREYS: dict[str, object] = {  # all of them GREY
    "(H, W)": GREY,
    "(H, W, 1)": GREY[..., None],
    "(1, H, W)": GREY[None],
    "float": GREY / 255,
    "uint16": GREY.astype(np.uint16) * 257,
    "torch": torch.from_numpy(GREY[None].copy()),
    "pil": Image.fromarray(GREY),
    "pil, opaque": Image.merge("LA", [Image.fromarray(GREY), plain(255, "L", 24, 16)]),
    "png": encoded(Image.fromarray(GREY)),
    "jpeg 2000": encoded(Image.fromarray(GREY), "JPEG2000"),
}
CLEARS: dict[str, object] = {  # all of them transparent
    "rgba": plain(_CLEAR, "RGBA"),
    "rgba, png": encoded(plain(_CLEAR, "RGBA")),
    "rgba, webp": encoded(plain(_CLEAR, "RGBA"), "WEBP", lossless=True, exact=True),
    "grey": plain((40, 0), "LA"),
    "grey, png": encoded(plain((40, 0), "LA")),
    "premultiplied": plain(_CLEAR, "RGBA").convert("RGBa"),
    "grey, premultiplied": plain((40, 0), "LA").convert("La"),
    "palette": encoded(_RED_HALF, transparency=0),
    "palette, bytes": encoded(_RED_HALF, transparency=b"\0\xff"),
    "palette, gif": encoded(_RED_HALF, "GIF", transparency=0),
    "grey key": png(2, 1, 8, 0, bytes([0, 10, 10]), _key(10)),
    "colour key": png(1, 1, 8, 2, bytes([0, 10, 20, 30]), _key(10, 20, 30)),
    "bit key": png(8, 1, 1, 0, bytes([0, 0]), _key(0)),
    "key of 16 bits": png(1, 1, 16, 0, struct.pack(">xH", 1000), _key(1000)),
    "uint8": np.full((5, 6, 4), _CLEAR, np.uint8),
    "float, channels first": np.zeros((4, 5, 6)),
    "bool": np.zeros((5, 6, 4), bool),
}
KINDS: dict[str, tuple[object, tuple[int, ...]]] = {  # one colour each, to a level
    "1": (plain(1, "1"), WHITE),
    "1, black": (plain(0, "1"), BLACK),
    "1, png": (encoded(plain(1, "1")), WHITE),
    "1, tiff": (encoded(plain(1, "1"), "TIFF", compression="group4"), WHITE),
    "palette": (_RED_HALF, RED),
    "palette, gif": (encoded(_RED_HALF, "GIF"), RED),
    "palette, bmp": (encoded(_RED_HALF, "BMP"), RED),
    "cmyk": (plain((0, 255, 255, 0), "CMYK"), RED),
    "cmyk, jpeg": (encoded(plain((0, 255, 255, 0), "CMYK"), "JPEG"), RED),
    "cmyk, tiff": (encoded(plain((255, 255, 0, 0), "CMYK"), "TIFF"), BLUE),
    "cmyk, black": (encoded(plain((0, 0, 0, 255), "CMYK"), "JPEG"), BLACK),
    "ycbcr": (plain(RED).convert("YCbCr"), RED),
    "hsv": (plain(GREEN).convert("HSV"), GREEN),
    "rgbx": (plain(GREEN).convert("RGBX"), GREEN),
    "I;16": (plain(32896, "I;16"), MIDDLE),
    "I;16B": (plain(32896, "I;16B"), MIDDLE),
    "I": (plain(32896, "I"), MIDDLE),
    "F": (plain(0.5, "F"), MIDDLE),
    "16 bits, png": (encoded(plain(32896, "I;16")), MIDDLE),
    "16 bits, tiff": (encoded(plain(32896, "I;16"), "TIFF"), MIDDLE),
    "16 bits, tiff, big-endian": (encoded(plain(32896, "I;16B"), "TIFF"), MIDDLE),
    "16 bits, pgm": (b"P5 2 1 65535\n" + struct.pack(">2H", 32896, 32896), MIDDLE),
    "16 bits, dark": (encoded(plain(200, "I;16")), (1, 1, 1)),
    "16 bits, pgm, dark": (b"P5 1 1 65535\n" + struct.pack(">H", 200), (1, 1, 1)),
    "16 bits, array, dark": (np.full((5, 6), 200, ">u2"), (1, 1, 1)),
    "16 bits, rgb": (png(1, 1, 16, 2, struct.pack(">x3H", 65535, 0, 32896)), (255, 0, 128)),
    "float, tiff": (encoded(plain(0.5, "F"), "TIFF"), MIDDLE),
}
FILES: dict[str, bytes] = {  # each to be cut short and damaged
    "jpeg": encoded(picture(90, 70), "JPEG"),
    "jpeg, progressive": encoded(picture(90, 70), "JPEG", progressive=True),
    "png": encoded(picture(40, 30)),
    "png, palette": encoded(picture(40, 30).convert("P")),
    "gif": encoded(picture(40, 30), "GIF"),
    "gif, animated": frames("GIF", picture(40, 30), picture(40, 30, 1)),
    "webp": encoded(picture(40, 30), "WEBP"),
    "webp, lossless": encoded(picture(40, 30), "WEBP", lossless=True),
    "tiff": encoded(picture(40, 30), "TIFF"),
    "tiff, lzw": encoded(picture(40, 30), "TIFF", compression="tiff_lzw"),
    "bmp": encoded(picture(40, 30), "BMP"),
    "ppm": encoded(picture(40, 30), "PPM"),
    "jpeg 2000": encoded(picture(40, 30), "JPEG2000"),
}
