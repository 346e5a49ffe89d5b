"""AudioProcessor: shapes, padding, and the windows of long sounds."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llm_compression.errors import InputError
from llm_compression.multimodal.audio import input as audio_input
from llm_compression.multimodal.audio import processor as audio_processor
from llm_compression.multimodal.audio.input import Sound, open_sound
from llm_compression.multimodal.audio.mel import log_mel, padded, silence
from llm_compression.multimodal.audio.processor import AudioProcessor, Window
from tests.multimodal.sounds import LONG, SHORT, encoded
from tests.whisper_checkpoints import RATE, noise

MELS = 8


def windows(seconds: float, **options: float) -> tuple[np.ndarray, list[Window]]:
    """A sound of so many seconds, and its windows."""
    samples = noise(seconds)
    processor = AudioProcessor(SHORT, MELS, **options)
    return samples, [*processor.windows(samples, "sound 7", RATE)]


def times(found: list[Window]) -> list[tuple[float, float]]:
    return [(round(window.start, 6), round(window.stop, 6)) for window in found]


# Whole windows


def test_a_batch():
    sounds = [noise(0.3), {"array": noise(1.0, rate=8000), "sampling_rate": 8000}, np.zeros(1)]
    batch = AudioProcessor(SHORT, MELS)(sounds, sampling_rate=RATE)
    assert (batch.shape, batch.dtype) == ((3, MELS, 200), np.float32)
    first = log_mel(noise(0.3), SHORT, MELS)
    np.testing.assert_array_equal(batch[0], padded(first, 200))
    assert (batch[0, :, 32:] == silence(first)).all()
    assert (batch[2] == -1.5).all()


def test_one_sound_is_a_batch_of_one():
    batch = AudioProcessor(LONG, 80)(noise(0.3), sampling_rate=RATE)
    assert batch.shape == (1, 80, 3000)
    assert AudioProcessor(LONG, 80)(encoded(noise(0.3))).shape == (1, 80, 3000)


def test_no_sound_is_an_empty_batch():
    empty = AudioProcessor(SHORT, MELS)([])
    assert (empty.shape, empty.dtype) == ((0, MELS, 200), np.float32)


def test_a_sound_of_exactly_one_window_is_not_longer():
    processor = AudioProcessor(SHORT, MELS)
    assert processor(noise(2.0), sampling_rate=RATE).shape == (1, MELS, 200)
    with pytest.raises(InputError, match=r"sound 1 is longer than 2.0 s; take its windows"):
        processor([noise(2.0), np.zeros(2 * RATE + 1)], sampling_rate=RATE)


def test_of_a_sound_that_is_longer_only_so_much_is_read(monkeypatch: pytest.MonkeyPatch):
    """Or three hours would be gone through to say that they are more than 30 seconds."""
    monkeypatch.setattr(audio_input, "_BLOCK", RATE)
    read = watched(monkeypatch)
    with pytest.raises(InputError, match="sound 0 is longer"):
        AudioProcessor(SHORT, MELS)(np.zeros(60 * RATE), sampling_rate=RATE)
    assert len(read) <= 6


def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length of every block of samples, as it is taken."""
    taken: list[int] = []

    def watch(*args: Any) -> Sound:
        sound = open_sound(*args)

        def blocks() -> Iterator[np.ndarray]:
            for block in sound.blocks:
                taken.append(len(block))
                yield block

        return replace(sound, blocks=blocks())

    monkeypatch.setattr(audio_processor, "open_sound", watch)
    return taken


# Windows


def test_windows_follow_each_other():
    _, found = windows(5.0)
    assert times(found) == [(0, 2), (2, 4), (4, 5)]
    _, found = windows(5.0, window=1.5, overlap=0.5)
    assert times(found) == [(0, 1.5), (1, 2.5), (2, 3.5), (3, 4.5), (4, 5)]


def test_a_sound_that_fills_its_windows_has_no_empty_one_behind():
    assert times(windows(4.0)[1]) == [(0, 2), (2, 4)]
    assert times(windows(2.0)[1]) == [(0, 2)]
    assert times(windows(3.5, overlap=0.5)[1]) == [(0, 2), (1.5, 3.5)]
    assert times(windows(2.0, overlap=1.9)[1]) == [(0, 2)]


def test_one_sample_more_is_a_window_more():
    samples = np.zeros(4 * RATE + 1)
    found = [*AudioProcessor(SHORT, MELS).windows(samples, "sound 7", RATE)]
    assert times(found)[:2] == [(0, 2), (2, 4)]
    assert (found[2].start, found[2].stop, found[2].heard) == (4, 4 + 1 / RATE, 1)


OPTIONS = [(w, o) for w in (None, 1.0, 0.37, 1 / 3) for o in (0.0, 0.1, 0.25)]


@pytest.mark.parametrize(("window", "overlap"), OPTIONS)
@pytest.mark.parametrize("seconds", [0.0001, 0.3, 0.37, 1.0, 1.9, 2.0, 2.07, 6.66])
def test_every_sample_is_in_a_window(seconds: float, window: float | None, overlap: float):
    """Each but the last is whole, begins ``overlap`` before its forerunner ends, and adds to it."""
    samples, found = windows(seconds, window=window, overlap=overlap)
    size, shared = round((window or 2) * RATE), round(overlap * RATE)
    starts = [round(each.start * RATE) for each in found]
    stops = [round(each.stop * RATE) for each in found]
    assert starts == [i * (size - shared) for i in range(len(found))]
    assert [b - a for a, b in zip(starts, stops, strict=True)][:-1] == [size] * (len(found) - 1)
    assert all(before < after for before, after in itertools.pairwise(stops))
    assert stops[-1] == len(samples)
    for each, start, stop in zip(found, starts, stops, strict=True):
        assert 0 < stop - start <= size
        assert each.heard == math.ceil((stop - start) / 320)
        np.testing.assert_array_equal(each.frames, log_mel(samples[start:stop], SHORT, MELS))


@pytest.mark.parametrize("block", [100, 7777, 32_000, 50_000])
@pytest.mark.parametrize("overlap", [0.0, 0.3])
def test_windows_do_not_depend_on_blocks(
    block: int, overlap: float, monkeypatch: pytest.MonkeyPatch
):
    _, wanted = windows(7.7, overlap=overlap)
    monkeypatch.setattr(audio_input, "_BLOCK", block)
    _, found = windows(7.7, overlap=overlap)
    assert times(found) == times(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours.frames, theirs.frames)


def test_times_are_those_of_the_sound_at_any_rate():
    for rate in (8000, 44100):
        found = AudioProcessor(SHORT, MELS).windows(noise(5.0, rate=rate), "sound 7", rate)
        assert times([*found]) == [(0, 2), (2, 4), (4, 5)]


def test_windows_are_made_one_by_one(monkeypatch: pytest.MonkeyPatch):
    """Of a long sound no more than the blocks of one window are in memory."""
    monkeypatch.setattr(audio_input, "_BLOCK", RATE // 2)
    read = watched(monkeypatch)
    found: Iterator[Window] = AudioProcessor(SHORT, MELS).windows(np.zeros(60 * RATE), "x", RATE)
    for made in range(1, 11):
        next(found)
        assert len(read) == 4 * made


@pytest.mark.parametrize(("window", "overlap"), [(None, 0.0), (1.0, 0.0), (1.0, 0.25), (0.5, 0.1)])
def test_windows_are_counted_by_the_header(window: float | None, overlap: float):
    processor = AudioProcessor(SHORT, MELS, window=window, overlap=overlap)
    for seconds in (0.1, 0.5, 1.0, 1.1, 2.0, 2.3, 4.0, 6.6):
        samples = noise(seconds)
        for sound in (samples, encoded(samples)):
            count = processor.count(sound, "sound 7", RATE)
            assert count == len([*processor.windows(sound, "sound 7", RATE)])


# Options


@pytest.mark.parametrize("value", [-1, -0.1, 2.1, 30, np.nan, np.inf, True, "1", None, [1], 1j])
def test_no_seconds(value: object):
    for option in ("window", "overlap"):
        if (option, value) != ("window", None):
            message = rf"{option} is .*; it must be a number of seconds in 0..2"
            with pytest.raises(InputError, match=message):
                AudioProcessor(SHORT, MELS, **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [0, 0.0, 1e-9, 3e-5])
def test_a_window_without_a_sample(window: float):
    with pytest.raises(InputError, match=r"window is .* s, which is less than one sample"):
        AudioProcessor(SHORT, MELS, window=window)


@pytest.mark.parametrize(("window", "overlap"), [(None, 2), (1, 1), (1, 0.99999), (1e-4, 1e-4)])
def test_an_overlap_that_leaves_nothing_new(window: float | None, overlap: float):
    with pytest.raises(InputError, match=r"overlap .* s leaves nothing new in a window of "):
        AudioProcessor(SHORT, MELS, window=window, overlap=overlap)


def test_an_overlap_longer_than_the_window():
    with pytest.raises(InputError, match=r"overlap is 1.5; it must be .* in 0..1"):
        AudioProcessor(SHORT, MELS, window=1, overlap=1.5)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1)])
def test_seconds(value: float):
    assert AudioProcessor(SHORT, MELS, window=value).window == 1.0
    assert AudioProcessor(SHORT, MELS, overlap=value).overlap == 1.0
