"""A file that lost some of its bytes, or has others in their place, is never another sound."""

import io
import random
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from llm_compression.errors import InputError
from tests.multimodal.sounds import FORMATS, encoded, read, recording
from tests.whisper_checkpoints import RATE, noise, tone

LONG_SAMPLES = 0.4 * tone(8.0) + noise(8.0)
CHECKED = ["flac 16", "flac 24", "vorbis", "opus", "mp3"]  # formats that can tell that bytes differ


@cache
def long_recording(kind: str) -> bytes:
    """A file of eight seconds, so that each format has several of its pages or frames."""
    return encoded(LONG_SAMPLES, kind)


def outcome(source: object) -> np.ndarray | str:
    """The sound, or what the error says."""
    try:
        return read(source, name="some sound")
    except InputError as error:
        return str(error)


def ends(content: bytes) -> list[int]:
    """Some 90 places to cut a file at: in its header, all over, and right before its end."""
    last = range(len(content) - 12, len(content))
    return sorted({*range(1, 64, 4), *np.linspace(64, len(content) - 13, 60, dtype=int), *last})


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_short_is_never_another_sound(kind: str, tmp_path: Path):
    """Of the last eight bytes, which some writers count wrongly, the samples may be missing."""
    content, path = recording(kind), tmp_path / "cut"
    whole, errors = read(content), 0
    for end in ends(content):
        path.write_bytes(content[:end])
        found = outcome(path)
        if isinstance(found, str):
            errors += 1
            assert found.startswith("some sound is "), end
        else:
            assert len(content) - end <= 8, f"{len(found)} of {len(whole)} samples of {end} bytes"
            assert len(whole) - len(found) <= 8
            np.testing.assert_array_equal(found, whole[: len(found)])
    assert errors >= 76


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_cut_short_are_refused_like_their_file(kind: str, tmp_path: Path):
    content, path = recording(kind), tmp_path / "cut"
    for end in ends(content)[::3]:
        path.write_bytes(content[:end])
        ours, theirs = outcome(content[:end]), outcome(path)
        assert type(ours) is type(theirs)


@pytest.mark.parametrize("kind", CHECKED)
@pytest.mark.parametrize("filler", ["garbage", "zeros", "nothing"])
def test_damage_in_the_middle(filler: str, kind: str):
    for content in (recording(kind), long_recording(kind)):
        middle, size = len(content) // 2, len(content) // 8
        between = {
            "garbage": random.Random(0).randbytes(size),
            "zeros": bytes(size),
            "nothing": b"",
        }
        found = outcome(content[:middle] + between[filler] + content[middle + size :])
        assert isinstance(found, str), f"{len(found)} samples"
        assert found.startswith("some sound is ")


@pytest.mark.parametrize("kind", ["flac 16", "flac 24", "vorbis", "opus"])
def test_one_byte_in_the_middle(kind: str):
    """These have a checksum for every page or frame."""
    content = bytearray(long_recording(kind))
    content[len(content) // 2] ^= 1
    found = outcome(bytes(content))
    assert isinstance(found, str), f"{len(found)} of {len(LONG_SAMPLES)} samples"


@pytest.mark.parametrize("kind", ["vorbis", "opus"])
def test_a_page_that_is_missing(kind: str):
    content = long_recording(kind)
    pages = [at for at in range(len(content)) if content.startswith(b"OggS", at)]
    found = outcome(content[: pages[-3]] + content[pages[-2] :])
    assert isinstance(found, str), f"{len(found)} of {len(LONG_SAMPLES)} samples"


@pytest.mark.parametrize("kind", ["wav float", "wav double", "aiff float"])
def test_garbage_among_floats_is_no_sound(kind: str):
    content = bytearray(recording(kind))
    middle = len(content) // 2 + 1
    content[middle : middle + 4000] = random.Random(0).randbytes(4000)
    assert outcome(bytes(content)).startswith("some sound holds ")


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_is_an_input_error_or_nothing(kind: str, tmp_path: Path):
    rng, path = random.Random(kind), tmp_path / "damaged"
    errors = 0
    for _ in range(40):
        content = bytearray(recording(kind))
        for _ in range(rng.choice([1, 4, 16])):
            place = rng.randrange(min(len(content), 400))
            content[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        path.write_bytes(content)
        found = outcome(path)
        if isinstance(found, str):
            errors += 1
            assert found.startswith("some sound ")
        else:
            assert np.isfinite(found).all()
    assert errors


def mpeg_frames(content: bytes) -> list[int]:
    """Where the frames of an MP3 of 16 kHz begin, the first of which tells of all others."""
    kilobits = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
    starts, place = [], 0
    while place < len(content):
        starts.append(place)
        place += 72 * kilobits[content[place + 2] >> 4] * 1000 // RATE + (
            content[place + 2] >> 1 & 1
        )
    return starts


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_its_first_frame_is_heard_to_its_end_or_refused(mode: str):
    """That frame holds how many there are; without it libsndfile guesses by the first ones."""
    samples = np.concatenate([tone(3.0), noise(3.0)])
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="MP3", bitrate_mode=mode, compression_level=0.5)
    content = file.getvalue()
    frames = mpeg_frames(content)
    assert read(content).shape == samples.shape
    found = outcome(content[frames[1] :])
    heard = 0 if isinstance(found, str) else len(found)
    assert isinstance(found, str) or heard == 576 * (len(frames) - 1), f"{heard} samples"


@pytest.mark.parametrize("kind", ["vorbis", "opus", "mp3"])
def test_one_sound_behind_another_is_heard_too_or_refused(kind: str):
    """As `cat` joins them, and as streams of radio are recorded."""
    found = outcome(recording(kind) * 2)
    assert isinstance(found, str) or len(found) == 2 * len(read(recording(kind)))


@pytest.mark.parametrize("kind", ["flac 16", "vorbis", "mp3", "wav 16"])
def test_a_file_is_not_held_open(kind: str, tmp_path: Path):
    """Whether it was good, damaged or no sound, though the error is still at hand."""
    path, content = tmp_path / "sound.flac", recording(kind)
    for part in (content, content[: len(content) // 2], b"text"):
        path.write_bytes(part)
        with pytest.raises(InputError) if part != content else nullcontext() as caught:
            read(path)
        assert path not in [link.resolve() for link in Path("/proc/self/fd").iterdir()]
        del caught
