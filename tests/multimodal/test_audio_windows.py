"""Sounds longer than a window: into one embedding, or one for each window with its times."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_compression.errors import InputError
from llm_compression.multimodal.audio import layout as audio_layout
from llm_compression.multimodal.audio import processor as audio_processor
from llm_compression.multimodal.audio.encoder import AudioEncoder
from llm_compression.multimodal.audio.mel import log_mel
from llm_compression.multimodal.audio.model import AudioModel
from tests.multimodal.sounds import encoded, reference
from tests.whisper_checkpoints import RATE, WhisperFactory, noise, tone

E = 16
SECONDS = [0.3, 5.0, 2.0, 0.01, 4.0, 7.001, 1.0]
SOUNDS = [noise(s, seed) for seed, s in enumerate(SECONDS)]
OPTIONS = [{}, {"window": 1.5}, {"overlap": 0.5}, {"window": 0.9, "overlap": 0.3}]
Options = dict[str, float]


def close(ours: np.ndarray, theirs: np.ndarray, bound: float = 1e-6) -> None:
    """Within ``bound`` of the values' size."""
    assert (ours.shape, ours.dtype) == (theirs.shape, np.float32)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound * max(1, np.abs(theirs).max()))


@pytest.fixture(params=["exact", "fast"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The fast one with so few stretches that they are longer than one position."""
    monkeypatch.setattr(audio_layout, "FAR", 8)
    return str(request.param)


def cut(samples: np.ndarray, window: float = 2.0, overlap: float = 0.0) -> list[np.ndarray]:
    """Whole windows, and behind them one of what is left."""
    size, step = round(window * RATE), round(window * RATE) - round(overlap * RATE)
    starts = range(0, max(1, len(samples) - (size - step)), step)
    return [samples[start : start + size] for start in starts]


# One embedding


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_long_sound_is_the_mean_over_all_its_positions(
    options: Options, tiny_whisper: Path, tiny_whisper_table: Path
):
    encoder = AudioEncoder(tiny_whisper_table, mapped=False, **options)
    for samples in (SOUNDS[1], SOUNDS[4]):
        states = np.concatenate([reference(tiny_whisper, part) for part in cut(samples, **options)])
        close(encoder.encode(samples, sampling_rate=RATE), states.mean(0), 1e-5)
        close(encoder.sequence(samples, sampling_rate=RATE), states, 1e-5)


def test_a_sound_longer_than_30_seconds(long_whisper_table: Path, make_whisper: WhisperFactory):
    checkpoint, samples = make_whisper(seconds=30), noise(61.3)
    states = np.concatenate([reference(checkpoint, part) for part in cut(samples, 30.0)])
    assert states.shape == (1500 + 1500 + 65, E)
    found = AudioEncoder(long_whisper_table).encode(samples, sampling_rate=RATE)
    close(found, states.mean(0), 1e-5)


def test_a_window_counts_for_as_long_as_it_is_heard(hearing: AudioEncoder):
    """One twentieth of a second behind two seconds weighs next to nothing."""
    samples = np.concatenate([noise(2.0), 0.3 * tone(0.06)])
    windows = hearing.encode_windows(samples, sampling_rate=RATE).embeddings
    weighed = (100 * windows[0] + 3 * windows[1]) / 103
    close(hearing.encode(samples, sampling_rate=RATE), weighed)
    assert np.abs(weighed - windows.mean(0)).max() > 0.01


def test_unit_length_comes_last(hearing: AudioEncoder):
    found = hearing.encode(SOUNDS, sampling_rate=RATE)
    units = found / np.linalg.norm(found, axis=1, keepdims=True)
    close(hearing.encode(SOUNDS, sampling_rate=RATE, normalize_embeddings=True), units)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_company_changes_nothing(batch_size: int, mode: str, tiny_whisper_table: Path):
    encoder = AudioEncoder(tiny_whisper_table, mapped=False, mode=mode, overlap=0.2)
    alone = np.stack([encoder.encode(sound, sampling_rate=RATE) for sound in SOUNDS])
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(len(SOUNDS))
        sounds = [SOUNDS[i] for i in order]
        found = encoder.encode(sounds, sampling_rate=RATE, batch_size=batch_size)
        close(found, alone[order])
        states = encoder.sequence(sounds, sampling_rate=RATE, batch_size=batch_size)
        close(np.stack([of_one.mean(0) for of_one in states]), found)


# One for each window


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_windows_are_in_order_with_their_times(
    options: Options, mode: str, tiny_whisper_table: Path
):
    encoder = AudioEncoder(tiny_whisper_table, mapped=False, mode=mode, **options)
    parts = [cut(samples, **options) for samples in SOUNDS]
    step = options.get("window", 2.0) - options.get("overlap", 0.0)
    found = encoder.encode_windows(SOUNDS, sampling_rate=RATE, batch_size=3)
    assert found.sounds.tolist() == [i for i, of_one in enumerate(parts) for _ in of_one]
    starts = np.array([step * k for of_one in parts for k in range(len(of_one))])
    lengths = np.array([len(part) / RATE for of_one in parts for part in of_one])
    np.testing.assert_allclose(found.starts, starts, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.stops, starts + lengths, rtol=0, atol=1e-9)
    assert found.skipped == {}
    flat = [part for of_one in parts for part in of_one]
    close(found.embeddings, encoder.encode(flat, sampling_rate=RATE, batch_size=1))


def test_windows_of_a_file_at_another_rate(hearing: AudioEncoder):
    found = hearing.encode_windows([encoded(noise(5.0, rate=8000), rate=8000), SOUNDS[2]],
                                   sampling_rate=RATE)  # fmt: skip
    assert found.sounds.tolist() == [0, 0, 0, 1]
    assert found.starts.tolist() == [0, 2, 4, 0]
    assert found.stops.tolist() == [2, 4, 5, 2]


def test_windows_of_one_sound(hearing: AudioEncoder):
    found = hearing.encode_windows(SOUNDS[1], sampling_rate=RATE)
    assert (found.embeddings.shape, found.sounds.tolist()) == ((3, E), [0, 0, 0])
    assert (found.sounds.dtype, found.starts.dtype) == (np.int64, np.float64)


def test_windows_do_not_depend_on_batches(mode: str, tiny_whisper_table: Path):
    encoder = AudioEncoder(tiny_whisper_table, mapped=False, mode=mode)
    wanted = encoder.encode_windows(SOUNDS, sampling_rate=RATE, batch_size=1)
    for batch_size in (2, 7, 64):
        found = encoder.encode_windows(SOUNDS, sampling_rate=RATE, batch_size=batch_size)
        close(found.embeddings, wanted.embeddings)
        for ours, theirs in (
            (found.sounds, wanted.sounds), (found.starts, wanted.starts),
            (found.stops, wanted.stops),
        ):  # fmt: skip
            np.testing.assert_array_equal(ours, theirs)


def test_windows_of_unit_length(hearing: AudioEncoder):
    plain = hearing.encode_windows(SOUNDS, sampling_rate=RATE).embeddings
    found = hearing.encode_windows(SOUNDS, sampling_rate=RATE, normalize_embeddings=True)
    close(found.embeddings, plain / np.linalg.norm(plain, axis=1, keepdims=True))


def test_of_no_sound_there_is_no_window(hearing: AudioEncoder):
    found = hearing.encode_windows([])
    assert found.embeddings.shape == (0, E)
    assert found.sounds.shape == found.starts.shape == found.stops.shape == (0,)


def test_taps_are_those_of_the_first_windows(hearing: AudioEncoder):
    taps = hearing.taps(SOUNDS, sampling_rate=RATE)
    first = [samples[: 2 * RATE] for samples in SOUNDS]
    close(taps["embedding"], hearing.encode(first, sampling_rate=RATE))


# How the work is done


def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """How many positions of each window are heard, for every batch that is run."""
    ran: list[list[int]] = []
    run = AudioModel.__call__

    def watch(model: AudioModel, windows: Any, heard: list[int], **options: Any) -> Any:
        ran.append(heard)
        return run(model, windows, heard, **options)

    monkeypatch.setattr(AudioModel, "__call__", watch)
    return ran


def test_in_the_fast_mode_windows_of_like_length_run_together(
    fast_hearing: AudioEncoder, monkeypatch: pytest.MonkeyPatch
):
    """So that one long sound does not make the work of many short ones its own."""
    ran = batches(monkeypatch)
    fast_hearing.encode([noise(2.0 if i % 8 == 0 else 0.1) for i in range(64)],
                        sampling_rate=RATE, batch_size=8)  # fmt: skip
    assert sorted(ran) == [[5] * 8] * 7 + [[100] * 8]


def test_windows_are_read_only_so_far_ahead(mode: str, tiny_whisper_table: Path,
                                            monkeypatch: pytest.MonkeyPatch):  # fmt: skip
    """Or those of hours of sound would be held before the first is run."""
    encoder = AudioEncoder(tiny_whisper_table, mapped=False, mode=mode)
    ran, made = batches(monkeypatch), []

    def watch(samples: np.ndarray, *args: Any) -> np.ndarray:
        made.append(len(ran))
        return log_mel(samples, *args)

    monkeypatch.setattr(audio_processor, "log_mel", watch)
    encoder.encode(np.zeros(400 * RATE, np.float32), sampling_rate=RATE, batch_size=2)
    assert len(made) == 200
    assert all(number <= 2 * before + 16 for number, before in enumerate(made))


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "quick"}, "mode 'quick' is not one of exact, fast"),
        ({"mode": None}, "mode None is not one of exact, fast"),
        (
            {"compute_dtype": "int4"},
            "compute_dtype 'int4' is not one of float32, bfloat16, float16, int8",
        ),
        ({"window": 0}, "window is 0.0 s, which is less than one sample"),
        ({"window": 2.5}, r"window is 2.5; it must be a number of seconds in 0..2"),
        ({"window": "1"}, r"window is '1'; it must be a number of seconds in 0..2"),
        ({"overlap": -1}, r"overlap is -1; it must be a number of seconds in 0..2"),
        ({"overlap": 2}, "overlap 2.0 s leaves nothing new in a window of 2.0 s"),
        ({"window": 1, "overlap": 1.5}, r"overlap is 1.5; it must be .* in 0..1"),
    ],
    ids=str,
)
def test_no_option(options: Options, message: str, tiny_whisper_table: Path):
    with pytest.raises(InputError, match=message):
        AudioEncoder(tiny_whisper_table, mapped=False, **options)  # type: ignore[arg-type]
