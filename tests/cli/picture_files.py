"""A folder of pictures for commands to find."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.multimodal.pictures import encoded, picture

COLOURS = {"black.JPG": "black", "blue.png": "blue", "green.webp": "green", "more/red.gif": "red"}


def write_pictures(folder: Path) -> Path:
    """A picture of each colour, half of it grey by degrees; one a folder down, and a text."""
    (folder / "more").mkdir(parents=True)
    for place, (name, colour) in enumerate(COLOURS.items()):
        image = Image.new("RGB", (40, 30), colour)
        image.paste("gray", (0, 0, 4 + 8 * place, 15))
        image.save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def names(folder: Path) -> list[str]:
    """The pictures of `write_pictures`, in the order that a folder is read."""
    return [str(folder / name) for name in COLOURS]


def write_broken(folder: Path) -> Path:
    """A truncated picture among the others."""
    path = folder / "broken.png"
    path.write_bytes(encoded(picture())[:200])
    return path


def close(ours: object, theirs: np.ndarray) -> None:
    """Equal but for the order of sums."""
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=1e-5)
