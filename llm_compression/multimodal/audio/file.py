"""Sound files, decoded block by block by libsndfile; what it passes over in silence is refused."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from llm_compression.errors import InputError
from llm_compression.files.paths import user_path
from llm_compression.multimodal.audio.ogg import check_pages

# libsndfile's log of a chunk that is larger than what is left of the file, as when it was cut
_CHUNK = re.compile(r"^\s*(\w[\w ]*?) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_LENGTH = re.compile(r"^Length : (\d+)", re.MULTILINE)
_DATA = re.compile(r"^data : (\d+)$", re.MULTILINE)
_BROKEN = re.compile(r"at position (\d+)\. Exiting parser")  # what follows is no chunk
_SLACK = 8  # bytes; some writers count a chunk's own header in
_OPEN_END = 0x7FFFF000  # sizes from here on mean that the writer, a pipe say, did not know it
_TAGS = 1 << 10  # bytes that may follow the last frame of an MP3
_SECONDS = 60  # read at once at the most, as low rates grow when they are resampled
_TAGGED = b"APETAGEX"  # what longer ones begin with
_UNKNOWN = 1 << 62  # samples of a file that does not say how many it has
_CLEARER = {  # what libsndfile says, and what it means
    "SF_INFO struct incomplete": "its header gives a sampling rate or a number of channels of 0",
    "not a regular file": "its content is not what its first bytes promise",
}
_ID3 = b"ID3"
_COUNTS = (b"Xing", b"Info", b"VBRI")  # in the first frame of an MP3: it counts the others
_BYTES = (bytes, bytearray, memoryview)


def open_sound_file(source: Any, name: str, block: int) -> tuple[int, float, Iterator[np.ndarray]]:
    """Sampling rate, seconds, and (n, C) float32 blocks of about ``block`` values.

    An open file is read to its end, into a temporary one.

    Raises:
        InputError: there is no such file, it is none of sound, or, from the blocks, it is damaged.
    """
    import soundfile  # comes with librosa, whose own import takes a second

    descriptor = _descriptor(source, name)
    try:
        sound = soundfile.SoundFile(descriptor)  # which closes it
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{name} is no sound that libsndfile reads (WAV, FLAC, OGG, MP3 and more): "
            f"{_reason(error)}; convert it, for example with ffmpeg"
        ) from error
    seconds = sound.frames / max(1, sound.samplerate)
    return sound.samplerate, seconds, _blocks(sound, descriptor, name, block)


def _blocks(sound: Any, descriptor: int, name: str, block: int) -> Iterator[np.ndarray]:
    import soundfile

    if sound.frames >= _UNKNOWN:
        sound.close()
        raise InputError(
            f"{name} does not say how long it is, as when its writer could not go back; convert "
            "it, for example with ffmpeg"
        )
    read, count = 0, max(1, min(block // sound.channels, _SECONDS * sound.samplerate))
    with sound:
        _refuse_cut(sound.extra_info, name)
        if sound.format == "OGG":
            _check_ogg(descriptor, name)
        try:
            while len(part := sound.read(count, "float32", always_2d=True)):
                read += len(part)
                yield part
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise InputError(f"{name} is damaged: {_reason(error)}") from error
        if sound.format == "MP3":
            _refuse_unread(descriptor, name)
        if read < sound.frames and (sound.format != "MP3" or _counts_frames(descriptor)):
            raise InputError(
                f"{name} is damaged: it says {sound.frames} samples and ends after {read}"
            )


def _descriptor(source: Any, name: str) -> int:
    """Of a file on the disk: libsndfile reads others through callbacks that swallow errors."""
    try:
        if isinstance(source, _BYTES):
            return _copied(BytesIO(bytes(source)), name)
        if hasattr(source, "read"):
            return _copied(source, name)
        return _opened(source, name)
    except InputError:
        raise
    except (OSError, ValueError, TypeError) as error:  # what reading runs into
        raise InputError(f"{name} cannot be read: {error}") from error


def _opened(source: Any, name: str) -> int:
    if str(source).startswith(("http://", "https://")):
        raise InputError(f"{source} is a URL; download it and pass its path or bytes")
    path = user_path(source)
    there = False
    with suppress(OSError):  # of a path that is too long for any file
        there = path.is_file()
    if not there:
        raise InputError(f"no sound file at {path}")
    if not path.stat().st_size:
        raise InputError(f"{name} is empty; there is nothing to hear")
    return os.open(path, os.O_RDONLY)


def _copied(source: BinaryIO, name: str) -> int:
    with tempfile.TemporaryFile() as file:
        try:
            shutil.copyfileobj(source, file)
        except Exception as error:  # whatever a reader of somebody else's raises
            raise InputError(f"{name} cannot be read: {error or type(error).__name__}") from error
        if not file.tell():
            raise InputError(f"{name} is empty; there is nothing to hear")
        file.seek(0)
        return os.dup(file.fileno())


def _refuse_cut(log: str, name: str) -> None:
    """Refuse a file whose chunks are not as long as they say, of which libsndfile reads a part."""
    if (broken := _BROKEN.search(log)) and (data := _DATA.search(log)):
        rest = int(_LENGTH.findall(log)[0]) - int(broken[1])
        if rest > int(data[1]):
            raise InputError(
                f"{name} is damaged: it says {data[1]} bytes of sound, and {rest} more follow; was "
                "the recording ended?"
            )
    for chunk, stated, there in _CHUNK.findall(log):
        if int(there) + _SLACK < int(stated) < _OPEN_END:
            raise InputError(
                f"{name} is damaged: {chunk} says {stated} bytes, of which {there} are there"
            )


def _check_ogg(descriptor: int, name: str) -> None:
    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    with open(os.dup(descriptor), "rb") as file:  # which shares that place
        file.seek(0)
        check_pages(file, name)
    os.lseek(descriptor, place, os.SEEK_SET)


def _refuse_unread(descriptor: int, name: str) -> None:
    """Refuse an MP3 that goes on: without a header that counts its frames, libsndfile guesses."""
    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    left = os.fstat(descriptor).st_size - place
    if left > _TAGS and os.pread(descriptor, len(_TAGGED), place) != _TAGGED:
        raise InputError(
            f"{name} goes on for {left} bytes after its end as libsndfile reckons it; convert it, "
            "for example with ffmpeg"
        )


def _counts_frames(descriptor: int) -> bool:
    """Whether an MP3 says how long it is; for others libsndfile reckons by its first frames."""
    head = os.pread(descriptor, 10, 0)
    tag = 0
    if head.startswith(_ID3):  # its size has seven bits a byte
        tag = 10 + sum(byte << 7 * i for i, byte in enumerate(reversed(head[6:10])))
    first = os.pread(descriptor, 512, tag)
    return any(word in first for word in _COUNTS)


def _reason(error: BaseException) -> str:
    """What libsndfile says, without the number of the file that it was given."""
    said = str(getattr(error, "error_string", "") or error) or type(error).__name__
    said = re.sub(r"Error opening .*?: ", "", said).rstrip(".")
    return next((clear for words, clear in _CLEARER.items() if words in said), said)
