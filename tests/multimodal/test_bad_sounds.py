"""Whatever is no sound is refused by an error that names it and says what to do."""

import io
import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llm_compression.errors import InputError
from llm_compression.multimodal.audio.input import as_sounds, open_sound
from llm_compression.multimodal.audio.processor import AudioProcessor
from tests.multimodal.sounds import SAMPLES, SHORT, encoded, read, recording
from tests.whisper_checkpoints import RATE

PROCESSOR = AudioProcessor(SHORT, 8)
TEXT = b"This is a text about a cat.\n" * 200
NO_SOUND = "is no sound that libsndfile reads (WAV, FLAC, OGG, MP3 and more): "
MP4 = b"".join(
    struct.pack(">I4s", 8 + len(content), kind) + content
    for kind, content in [
        (b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41"),
        (b"free", b""),
        (b"mdat", bytes(range(256)) * 20),
        (b"moov", bytes(100)),
    ]
)


def refused(source: object, rate: Any = None, name: str = "sound 7") -> str:
    """What the error says, which has to name the sound."""
    with pytest.raises(InputError, match=re.escape(name)) as caught:
        list(PROCESSOR.windows(source, name, rate))
    return str(caught.value)


# Files that are none of sound


@pytest.mark.parametrize(
    "content",
    [TEXT, TEXT[:1], b"<!doctype html><html>404</html>", bytes(5000), MP4, b"ID3\3\0\0\0\0\0\0",
     b"\x89PNG\r\n\x1a\n" + bytes(99), b"RIFF\x88\x13\0\0AVI LIST" + bytes(5000),
     b"\x1aE\xdf\xa3" + bytes(999), b"PK\3\4" + bytes(99)],
    ids=["text", "byte", "page", "zeros", "mp4", "tag", "png", "avi", "webm", "zip"],
)  # fmt: skip
def test_a_file_of_other_data(content: bytes, tmp_path: Path):
    path = tmp_path / "sound.wav"
    path.write_bytes(content)
    for source, name in ((path, str(path)), (content, "sound 7"), (io.BytesIO(content), "sound 7")):
        message = refused(source, name=name)
        assert message.startswith(f"{name} {NO_SOUND}")
        assert message.endswith("; convert it, for example with ffmpeg")


@pytest.mark.parametrize("ending", ["raw", "RAW", "pcm", "mp3", "ogg", "m4a", "txt", ""])
def test_the_name_of_a_file_makes_no_sound_of_it(ending: str, tmp_path: Path):
    path = tmp_path / f"sound.{ending}"
    for content in (TEXT, MP4):
        path.write_bytes(content)
        assert refused(path, name=str(path)).startswith(f"{path} {NO_SOUND}")


@pytest.mark.parametrize("ending", ["au", "snd", "vox", "gsm"])
def test_nor_does_a_name_that_may_mean_samples_without_a_header(ending: str, tmp_path: Path):
    """libsndfile takes the bytes of any file of such a name for samples."""
    path = tmp_path / f"sound.{ending}"
    for content in (TEXT, MP4, b"a"):
        path.write_bytes(content)
        assert refused(path, name=str(path)).startswith(f"{path} {NO_SOUND}")


def test_an_empty_file(tmp_path: Path):
    for ending in ("wav", "mp3", "au", "raw"):
        path = tmp_path / f"sound.{ending}"
        path.touch()
        assert refused(path, name=str(path)) == f"{path} is empty; there is nothing to hear"


def test_empty_bytes():
    for source in (b"", bytearray(), memoryview(b""), io.BytesIO()):
        assert refused(source) == "sound 7 is empty; there is nothing to hear"


@pytest.mark.parametrize("kind", ["wav 16", "wav float", "aiff 16", "vorbis"])
def test_a_file_without_samples(kind: str):
    assert "no samples; there is nothing to hear" in refused(encoded(SAMPLES[:0], kind))


@pytest.mark.parametrize("kind", ["flac 16", "mp3"])
def test_a_file_without_a_frame(kind: str):
    assert refused(encoded(SAMPLES[:0], kind)) == "sound 7 is empty; there is nothing to hear"


# Files that are none


def test_no_file(tmp_path: Path):
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "dangling.wav").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "missing.wav", "missing.wav", tmp_path, tmp_path / "folder.wav",
                 tmp_path / "dangling.wav", tmp_path / "pipe.wav", "/dev/zero"):  # fmt: skip
        assert refused(path, name=str(path)) == f"no sound file at {path}"


def test_a_url():
    for url in ("http://example.org/cat.wav", "https://example.org/cat.wav"):
        assert refused(url, name=url) == f"{url} is a URL; download it and pass its path or bytes"


def test_a_path_longer_than_any_file():
    url = "data:audio/wav;base64," + "A" * 5000
    assert refused(url, name="data:audio").startswith("no sound file at data:audio")


def test_a_path_that_no_file_can_have():
    assert "null byte" in refused("a\0b.wav", name="a\\x00b.wav")
    assert "not UTF-8" in refused("\udcff.wav", name="\\udcff.wav")
    assert refused("", name="the path") == "the path is empty; name a file or a folder"


@pytest.mark.parametrize("mode", ["r", "wb", "closed"])
def test_an_open_file_that_gives_no_bytes(mode: str, tmp_path: Path):
    """Refused in words, without what callbacks of libsndfile print."""
    path = tmp_path / "sound.wav"
    path.write_bytes(recording("wav 16"))
    with path.open("rb" if mode == "closed" else mode) as file:
        if mode == "closed":
            file.close()
        refused(file)


def test_a_pipe():
    there, here = os.pipe()
    os.write(here, recording("wav 16")[:20_000])
    os.close(here)
    with open(there, "rb") as file:
        refused(file)


# Values that are no sound


@pytest.mark.parametrize(
    ("audio", "what"),
    [
        (None, "NoneType"), (7, "int"), (1.5, "float"), (True, "bool"), ({1}, "set"),
        (iter([]), "list_iterator"), (object, "type"), ([0.1, 0.2], "a sequence of numbers"),
        ((1, 2), "a sequence of numbers"), (range(3), "a sequence of numbers"),
    ],
)  # fmt: skip
def test_what_is_neither_one_nor_many(audio: object, what: str):
    message = f"audio is {what}; pass paths, bytes or arrays, one or a sequence of them"
    with pytest.raises(InputError, match=re.escape(message)):
        as_sounds(audio)


@pytest.mark.parametrize("source", [None, 7, 1.5, object, {1}], ids=str)
def test_of_no_known_type(source: object):
    kind = type(source).__name__
    assert refused(source) == f"sound 7 is {kind}; pass a path, bytes or an array"
    mapping = {"array": source, "sampling_rate": RATE}
    assert refused(mapping) == f"sound 7 is {kind}; pass a path, bytes or an array"


def test_numbers_of_python():
    for source in ([0.1, 0.2], {"array": [0.1, 0.2], "sampling_rate": RATE}):
        assert refused(source).startswith("sound 7 is a sequence of numbers; pass")


@pytest.mark.parametrize(
    "keys", [[], ["array"], ["sampling_rate"], ["bytes", "path"], [1, "array"]], ids=str
)
def test_a_mapping_without_its_keys(keys: list[object]):
    message = refused(dict.fromkeys(keys, SAMPLES))
    assert message.endswith("'array' and 'sampling_rate' are needed")


def test_a_mapping_that_holds_itself():
    mapping: dict[str, object] = {"sampling_rate": RATE}
    mapping["array"] = mapping
    refused(mapping)


# Rates


@pytest.mark.parametrize("rate", [None, True, False, 16000.5, 16000.0, np.nan, "16000", [RATE]])
def test_a_rate_that_is_no_whole_number(rate: object):
    message = (
        f"sound 7 is an array with sampling_rate {rate!r}; pass its samples per second, a whole "
        "number, or {'array': ..., 'sampling_rate': ...}"
    )
    assert refused(SAMPLES, rate) == message
    assert refused({"array": SAMPLES, "sampling_rate": rate}, RATE) == message


@pytest.mark.parametrize("rate", [0, -1, -RATE, 1, 99, 4_000_001, 10**30])
def test_a_rate_that_no_sound_has(rate: int):
    message = f"sound 7 is an array with sampling_rate {rate}; it must be in 100..4000000 a second"
    assert refused(SAMPLES, rate) == message


@pytest.mark.parametrize("rate", [1, 99, 4_000_001, 2**31 - 1])
def test_a_file_of_a_rate_that_no_sound_has(rate: int):
    message = f"says that its sampling rate is {rate}; it must be in 100..4000000 a second"
    assert refused(rated(rate)) == f"sound 7 {message}"


@pytest.mark.parametrize("rate", [0, 2**31, 2**32 - 1])
def test_a_file_of_a_rate_that_libsndfile_does_not_read(rate: int):
    assert refused(rated(rate)).startswith(f"sound 7 {NO_SOUND}")


def rated(rate: int) -> bytes:
    content = bytearray(recording("wav 16"))
    content[24:28] = struct.pack("<I", rate)
    return bytes(content)


@pytest.mark.parametrize("channels", [0, 65535])
def test_a_file_of_no_or_countless_channels(channels: int):
    content = bytearray(recording("wav 16"))
    content[22:24] = struct.pack("<H", channels)
    assert "hannel" in refused(bytes(content))


def test_sounds_that_are_fine():
    """Beside those refused: at the lowest and highest rate, clipped, silent, one sample short."""
    for samples in (SAMPLES, np.sign(SAMPLES), np.zeros(99), np.ones(1), torch.ones(1, 2)):
        for rate in (100, RATE, 4_000_000):
            assert np.isfinite(read(samples, rate)).all()
            assert open_sound(samples, "sound 7", rate).rate == rate
