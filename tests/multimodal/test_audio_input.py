"""One sound in every form that it can have: the same samples, mono, within its bits."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from llm_compression.errors import InputError
from llm_compression.multimodal.audio import input as audio_input
from llm_compression.multimodal.audio.input import as_sounds, name_of, open_sound
from tests.multimodal.sounds import FORMATS, SAMPLES, encoded, read, read_first, recording
from tests.whisper_checkpoints import RATE, noise

LOSSY = ("vorbis", "opus", "mp3")
CHANNELS = np.stack([noise(0.5, seed) for seed in range(6)], axis=1)


def same(ours: np.ndarray, theirs: np.ndarray, bound: float = 0) -> None:
    assert (ours.dtype, ours.shape) == (np.float32, theirs.shape)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


# Files


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_holds_the_same_samples(kind: str):
    sound = open_sound(recording(kind), "sound 7", None)
    assert (sound.rate, sound.seconds) == (RATE, 1.5)
    same(np.concatenate([*sound.blocks]), SAMPLES, FORMATS[kind][2])


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in LOSSY])
@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_averaged(channels: int, kind: str):
    samples = CHANNELS[:, :channels]
    bound = max(FORMATS[kind][2], 1e-7)
    same(read(encoded(samples, kind)), samples.mean(axis=1), bound)


@pytest.mark.parametrize("kind", LOSSY)
@pytest.mark.parametrize("channels", [1, 2])
def test_channels_of_a_lossy_file_are_averaged(channels: int, kind: str):
    content = encoded(np.stack([SAMPLES, -0.5 * SAMPLES][:channels], axis=1), kind)
    decoded, _ = soundfile.read(io.BytesIO(content), always_2d=True)
    same(read(content), decoded.mean(axis=1), 1e-6)


FORMS: dict[str, Callable[[Path], object]] = {
    "path": lambda path: path,
    "str": str,
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "in memory": lambda path: io.BytesIO(path.read_bytes()),
    "array": lambda path: np.array([path], object),
    "list": lambda path: [path],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["wav 24", "flac 16", "vorbis", "mp3", "aiff 16"])
def test_a_file_in_every_form(kind: str, form: str, tmp_path: Path):
    path = tmp_path / "sound.bin"
    path.write_bytes(recording(kind))
    same(read_first(FORMS[form](path)), read(recording(kind)))


def test_paths_of_numpy(tmp_path: Path):
    path = tmp_path / "sound.wav"
    path.write_bytes(recording("wav 16"))
    for paths in (np.str_(path), np.array([str(path)])):
        same(read_first(paths), read(recording("wav 16")))


def test_an_open_file(tmp_path: Path):
    path = tmp_path / "sound.wav"
    path.write_bytes(recording("wav 16"))
    for buffering in (-1, 0):
        with path.open("rb", buffering=buffering) as file:
            same(read(file), read(path))
            assert not file.closed


def test_an_open_file_is_read_from_where_it_stands(tmp_path: Path):
    file = io.BytesIO(bytes(100) + recording("wav 16"))
    file.seek(100)
    same(read(file), read(recording("wav 16")))
    with pytest.raises(InputError, match="sound 7 is empty"):
        read(file)


def test_a_path_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "sound.wav").write_bytes(recording("wav 16"))
    same(read("~/sound.wav"), read(recording("wav 16")))


@pytest.mark.parametrize("kind", ["wav 16", "aiff 16", "flac 16", "mp3"])
def test_what_follows_the_sound_in_a_file_is_no_sound(kind: str):
    same(read(recording(kind) + b"TAG" + bytes(125)), read(recording(kind)))


@pytest.mark.parametrize("size", [0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_whose_writer_did_not_know_its_length(size: int):
    """As ffmpeg writes into a pipe: both sizes say that there is no end."""
    content = bytearray(recording("wav 16"))
    content[4:8] = content[40:44] = size.to_bytes(4, "little")
    same(read(bytes(content)), read(recording("wav 16")))


# Arrays


NUMBERS: dict[str, tuple[Callable[[np.ndarray], Any], float]] = {
    "float16": (lambda x: x.astype(np.float16), 2**-11),
    "float32": (lambda x: x.astype(np.float32), 1e-7),
    "float64": (lambda x: x.astype(np.float64), 1e-7),
    "big-endian": (lambda x: x.astype(">f4"), 1e-7),
    "int16": (lambda x: np.round(x * 2**15).astype(np.int16), 2**-16),
    "int32": (lambda x: np.round(x.astype(np.float64) * 2**31).astype(np.int32), 1e-7),
    "uint8": (lambda x: np.round(x * 128 + 128).astype(np.uint8), 2**-8),
    "torch bfloat16": (lambda x: torch.tensor(x, dtype=torch.bfloat16), 2**-9),
    "torch float16": (lambda x: torch.tensor(x, dtype=torch.float16), 2**-11),
    "torch float32": (lambda x: torch.tensor(x, dtype=torch.float32), 1e-7),
    "torch float64": (lambda x: torch.tensor(x, dtype=torch.float64), 1e-7),
    "torch gradient": (lambda x: torch.tensor(x, requires_grad=True), 1e-7),
    "torch int16": (lambda x: torch.tensor(x * 2**15).round().to(torch.int16), 2**-16),
    "torch int32": (lambda x: torch.tensor(x).double().mul(2**31).round().to(torch.int32), 1e-7),
    "torch uint8": (lambda x: torch.tensor(x * 128 + 128).round().to(torch.uint8), 2**-8),
}
AXES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "(n,)": lambda x: x[:, 0],
    "(n, 1)": lambda x: x[:, :1],
    "(1, n)": lambda x: x[:, :1].T,
    "(n, 2)": lambda x: x[:, :2],
    "(2, n)": lambda x: x[:, :2].T,
    "(n, 6)": lambda x: x,
    "(6, n)": lambda x: np.ascontiguousarray(x.T),
    "every third": lambda x: x[::3, 0],
    "backwards": lambda x: x[::-1, 0],
}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("numbers", NUMBERS)
def test_an_array(numbers: str, axes: str):
    samples = AXES[axes](CHANNELS)
    convert, bound = NUMBERS[numbers]
    mono = samples if samples.ndim == 1 else samples.mean(axis=np.argmin(samples.shape))
    array = convert(samples.copy() if numbers.startswith("torch") else samples)
    same(read(array, RATE), mono, bound)
    same(read({"array": array, "sampling_rate": RATE}), mono, bound)


def test_the_loudest_integers_are_the_loudest_floats():
    for kind, least, most in (
        (np.int16, -(2**15), 2**15 - 1), (np.int32, -(2**31), 2**31 - 1), (np.uint8, 0, 255),
    ):  # fmt: skip
        ends = read(np.array([least, most], kind), RATE)
        assert ends[0] == -1
        assert 0.99 < ends[1] <= 1
    assert read(np.array([128], np.uint8), RATE) == 0


def test_an_array_and_its_file_are_the_same_sound():
    array, rate = soundfile.read(io.BytesIO(recording("wav 16")), dtype="int16")
    same(read(array, rate), read(recording("wav 16")))


def test_an_array_is_left_as_it_is():
    array = CHANNELS.copy()
    read(array, RATE)
    np.testing.assert_array_equal(array, CHANNELS)


def test_a_mapping_says_its_own_rate():
    mapping = {"array": CHANNELS, "sampling_rate": 8000, "path": "call.wav"}
    assert open_sound(mapping, "sound 7", RATE).rate == 8000
    assert open_sound(mapping, "sound 7", None).seconds == len(CHANNELS) / 8000


@pytest.mark.parametrize("rate", [16000, np.int64(16000), np.int16(16000)])
def test_whole_numbers_are_rates(rate: int):
    assert open_sound(SAMPLES, "sound 7", rate).rate == RATE


@pytest.mark.parametrize("length", [7, 999, 1000, 1001, 3500])
def test_blocks_join_without_a_seam(length: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audio_input, "_BLOCK", 1000)
    samples = CHANNELS[:length]
    blocks = [*open_sound(samples, "sound 7", RATE).blocks]
    assert [len(block) for block in blocks[:-1]] == [1000] * (len(blocks) - 1)
    same(np.concatenate(blocks), samples.mean(axis=1), 1e-7)
    same(read(encoded(samples, "wav float")), samples.mean(axis=1), 1e-7)


# One or many


def test_one_or_many():
    array, content = np.zeros(9), b"sound"
    mapping = {"array": array, "sampling_rate": 8000}
    for one in ("a.wav", Path("a.wav"), content, bytearray(content), memoryview(content), mapping,
                io.BytesIO(content), array, np.zeros((2, 9)), torch.zeros(9)):  # fmt: skip
        assert as_sounds(one) == ([one], True)
    for many in (["a.wav"], ("a.wav", content), [array, mapping], [], [[1.0]]):
        assert as_sounds(many) == ([*many], False)
    assert as_sounds(np.array(["a.wav", "b.wav"])) == (["a.wav", "b.wav"], False)


def test_names():
    assert name_of("a.wav", 3) == "a.wav"
    assert name_of(Path("b/a.wav"), 3) == "b/a.wav"
    assert name_of(b"sound", 3) == name_of(np.zeros(9), 3) == "sound 3"


def test_a_file_is_read_when_its_samples_are_wanted(tmp_path: Path):
    """Its header is read at once."""
    path = tmp_path / "sound.flac"
    path.write_bytes(recording("flac 16")[:20_000])
    sound = open_sound(path, str(path), None)
    assert sound.seconds == 1.5
    with pytest.raises(InputError, match="damaged"):
        list(sound.blocks)
