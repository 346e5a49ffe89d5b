"""Image and sound files from arguments: files as they are, folders searched."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from llm_compression.errors import InputError

_IMAGES = frozenset({
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm",
    ".tga", ".tif", ".tiff", ".webp",
})  # fmt: skip
_SOUNDS = frozenset({
    ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64",
    ".snd", ".w64", ".wav", ".wave",
})  # fmt: skip


def image_files(arguments: Sequence[str]) -> list[Path]:
    """The files named, and below each folder those whose ending is an image's, sorted.

    Raises:
        InputError: nothing is there, or a folder holds no image.
    """
    return [path for argument in arguments for path in _files(argument, "image", _IMAGES)]


def sound_files(arguments: Sequence[str]) -> list[Path]:
    """The same of sounds.

    Raises:
        InputError: nothing is there, or a folder holds no sound.
    """
    return [path for argument in arguments for path in _files(argument, "sound", _SOUNDS)]


def _files(argument: str, kind: str, endings: frozenset[str]) -> Iterator[Path]:
    if argument.startswith(("http://", "https://")):
        raise InputError(f"{argument} is a URL; download it and give its file")
    path = Path(argument)
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise InputError(f"no {kind} file or folder at {path}")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in endings and p.is_file())
    if not found:
        raise InputError(f"{path} holds no {kind}; its files end in none of {sorted(endings)}")
    yield from found
