"""Image files from arguments: files as they are, folders searched."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from llm_compression.errors import InputError

_ENDINGS = frozenset({
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm",
    ".tga", ".tif", ".tiff", ".webp",
})  # fmt: skip


def image_files(arguments: Sequence[str]) -> list[Path]:
    """The files named, and below each folder those whose ending is an image's, sorted.

    Raises:
        InputError: nothing is there, or a folder holds no image.
    """
    return [path for argument in arguments for path in _files(Path(argument))]


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise InputError(f"no image file or folder at {path}")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in _ENDINGS and p.is_file())
    if not found:
        raise InputError(f"{path} holds no image; its files end in none of {sorted(_ENDINGS)}")
    yield from found
