"""Files that say another length than they have, or none: heard to their end or refused."""

import gzip
import io
import struct

import numpy as np
import pytest
import soundfile

from llm_compression.errors import InputError
from tests.multimodal.sounds import SAMPLES, encoded, read, recording
from tests.whisper_checkpoints import noise


def refused(source: object) -> str:
    with pytest.raises(InputError) as caught:
        read(source)
    assert str(caught.value).startswith("sound 7 ")
    return str(caught.value)


def mp3(rate: int, level: float) -> bytes:
    """One of constant bit rate."""
    file = io.BytesIO()
    samples = noise(4.0, rate=rate)
    soundfile.write(
        file, samples, rate, format="MP3", bitrate_mode="CONSTANT", compression_level=level
    )
    return file.getvalue()


def without_its_count(content: bytes) -> bytes:
    """An MP3 without its first frame, which counts the others; as streams are recorded."""
    behind = max(content.find(word) for word in (b"Info", b"Xing")) + 140
    second = next(i for i in range(behind, len(content)) if content[i : i + 2] >= b"\xff\xe0")
    return content[second:]


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
def test_an_mp3_that_does_not_count_its_frames_is_heard_to_its_end(rate: int, level: float):
    content = mp3(rate, level)
    frames = 1152 if rate > 32000 else 576  # samples in each
    missed = len(read(content)) - len(read(without_its_count(content)))
    assert abs(missed) < 4 * frames


@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x10\x00" + bytes(2048)])
def test_an_mp3_that_counts_them_is_missed_where_it_was_cut(tag: bytes):
    content = tag + mp3(16000, 0.5)
    assert len(read(content)) == 64000
    assert "and ends after" in refused(content[: len(content) * 2 // 3])


@pytest.mark.parametrize("stated", [0, 1000, 10_000])
def test_a_wav_whose_recording_was_not_ended(stated: int):
    content = bytearray(recording("wav 16"))
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", stated)
    assert refused(bytes(content)).startswith(f"sound 7 is damaged: it says {stated} bytes")


def test_a_wav_with_something_behind_it():
    """Notes and padding that some programs leave are no sound."""
    whole = read(recording("wav 16"))
    for behind in (b"LIST" + struct.pack("<I", 4) + b"note", bytes(512), b"garbage!" * 20):
        np.testing.assert_array_equal(read(recording("wav 16") + behind), whole)


def test_a_flac_that_does_not_say_how_long_it_is():
    content = bytearray(recording("flac 16"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    assert "does not say how long it is" in refused(bytes(content))


def test_an_ogg_that_never_ended():
    content = recording("vorbis")
    last = content.rindex(b"OggS")
    assert "it was cut, or never ended" in refused(content[:last])


@pytest.mark.parametrize("cut", [9, -1])
def test_a_reader_that_breaks(cut: int):
    """Whatever it raises: this one raises EOFError, which is no OSError."""
    packed = gzip.compress(encoded(SAMPLES))
    assert "cannot be read" in refused(gzip.GzipFile(fileobj=io.BytesIO(packed[:cut])))


def test_a_reader_that_does_not():
    packed = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(recording("wav 16"))))
    np.testing.assert_array_equal(read(packed), read(recording("wav 16")))
