"""Log-mel spectrograms beside transformers' WhisperFeatureExtractor."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from transformers.audio_utils import mel_filter_bank

from llm_compression.multimodal.audio.mel import log_mel, mel_filters, padded, silence
from llm_compression.multimodal.audio.processor import AudioProcessor
from llm_compression.spec.sound import SoundSpec
from tests.multimodal.sounds import LONG, SHORT, at_16_khz, spectrogram
from tests.whisper_checkpoints import RATE, noise, tone


@cache
def extractor(seconds: int, mels: int) -> Any:
    return transformers.WhisperFeatureExtractor(feature_size=mels, chunk_length=seconds)


def spec(seconds: int) -> SoundSpec:
    return {2: SHORT, 30: LONG}[seconds]


def frames(samples: np.ndarray, seconds: int, mels: int) -> np.ndarray:
    """Ours, of the whole window."""
    found = log_mel(samples, spec(seconds), mels)
    assert found.dtype == np.float32
    return padded(found, spec(seconds).window_frames)


def same(samples: np.ndarray, seconds: int = 2, mels: int = 80) -> None:
    """Within the bounds of the reference's two ways, of which that of numpy is the exact one."""
    ours = frames(samples, seconds, mels)
    theirs = spectrogram(extractor(seconds, mels), samples)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    default = extractor(seconds, mels)(samples, sampling_rate=RATE, return_tensors="np")
    np.testing.assert_allclose(ours, default["input_features"][0], rtol=0, atol=1e-4)


def click(length: int, *places: int) -> np.ndarray:
    samples = np.zeros(length, np.float32)
    samples[list(places)] = 1
    return samples


SOUNDS = {
    "noise": noise(1.3),
    "quiet noise": 1e-4 * noise(1.3),
    "noise as quiet as 16 bits can hold": np.sign(noise(1.3)) * np.float32(2**-15),
    "inaudible": 1e-9 * noise(1.3),
    "loud noise": 9 * noise(1.3),
    "clipped": np.sign(noise(1.3)),
    "silence": np.zeros(20_000, np.float32),
    "constant": np.full(20_000, 0.5, np.float32),
    "tone": tone(1.3),
    "low tone": tone(1.3, 40),
    "high tone": tone(1.3, 7990),
    "quiet tone": 1e-3 * tone(1.3),
    "square": np.sign(tone(1.3, 200)),
    "tone, then silence": np.concatenate([tone(0.5), np.zeros(8000, np.float32)]),
    "silence, then tone": np.concatenate([np.zeros(8000, np.float32), tone(0.5)]),
    "loud, then quiet": np.concatenate([tone(0.5), 1e-4 * noise(0.5)]),
    "sweep": np.sin(np.cumsum(np.linspace(0, np.pi, 30_000))).astype(np.float32),
    "click first": click(16_000, 0),
    "click last": click(16_000, -1),
    "click at the window's end": click(32_000, -1),
    "clicks where frames meet": click(16_000, 159, 160, 161, 199, 200, 201, 399, 400, 401),
}
LENGTHS = [1, 2, 79, 80, 159, 160, 161, 199, 200, 201, 319, 320, 321, 399, 400, 401, 8000, 16_000,
           31_599, 31_600, 31_601, 31_799, 31_800, 31_801, 31_839, 31_840, 31_841, 31_999,
           32_000]  # fmt: skip


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("sound", SOUNDS)
def test_every_sound(sound: str, mels: int):
    same(SOUNDS[sound], mels=mels)


@pytest.mark.parametrize("length", LENGTHS)
def test_every_length(length: int):
    same(noise(2.0)[-length:] + np.float32(0.01))


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("length", [1, 401, 81_921, 479_999, 480_000])
def test_windows_of_30_seconds(length: int, mels: int):
    same(noise(30.0)[-length:], 30, mels)


def test_speech(assets: Path):
    same(at_16_khz(assets / "jfk.flac"), 30)


@pytest.mark.parametrize("length", LENGTHS)
def test_only_frames_that_hear_the_sound_are_made(length: int):
    """All further ones are silence, which no frame before them need be."""
    samples = np.ones(length, np.float32)
    made = log_mel(samples, SHORT, 80).shape[1]
    assert made == min(200, max(1, -(-(length + 200) // 160)))
    theirs = spectrogram(extractor(2, 80), samples)
    assert (np.abs(theirs[:, made:] - silence(log_mel(samples, SHORT, 80))) < 1e-6).all()


def test_what_silence_is():
    """Eight orders of magnitude below the loudest, and never below the floor."""
    assert silence(log_mel(np.zeros(9, np.float32), SHORT, 80)) == np.float32(-1.5)
    loud = log_mel(tone(1.0), SHORT, 80)
    assert silence(loud) == pytest.approx(loud.max() - 2, abs=1e-6)
    assert loud.min() == pytest.approx(loud.max() - 2, abs=1e-6)


def test_padding():
    made = log_mel(noise(0.5), SHORT, 80)
    whole = padded(made, 200)
    np.testing.assert_array_equal(whole[:, : made.shape[1]], made)
    assert (whole[:, made.shape[1] :] == silence(made)).all()
    np.testing.assert_array_equal(padded(made, 20), made[:, :20])


def test_the_samples_are_left_as_they_are():
    samples = noise(0.5)
    log_mel(samples, SHORT, 80)
    np.testing.assert_array_equal(samples, noise(0.5))
    samples.flags.writeable = False
    log_mel(samples, SHORT, 80)


# Filters


def test_filters_are_whispers_own(assets: Path):
    theirs = np.load(assets / "mel_filters.npz")["mel_80"]
    ours = mel_filters(RATE, 400, 80)
    assert ours.shape == theirs.shape == (80, 201)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("size", "mels"), [(400, 80), (400, 128), (400, 8), (512, 40)])
def test_filters_are_those_of_transformers(size: int, mels: int):
    theirs = mel_filter_bank(
        num_frequency_bins=size // 2 + 1, num_mel_filters=mels, min_frequency=0.0,
        max_frequency=8000.0, sampling_rate=RATE, norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    np.testing.assert_allclose(mel_filters(RATE, size, mels), theirs.T, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("rate", "size", "mels"), [(22050, 512, 40), (44100, 1024, 64)])
def test_filters_of_other_rates_are_those_of_the_extractor(rate: int, size: int, mels: int):
    other = transformers.WhisperFeatureExtractor(mels, sampling_rate=rate, n_fft=size)
    ours = mel_filters(rate, size, mels)
    np.testing.assert_allclose(ours, other.mel_filters.T, rtol=0, atol=1e-12)


# Other front ends


@pytest.mark.parametrize(("size", "hop"), [(400, 200), (512, 160), (256, 320)])
def test_frames_of_other_sizes(size: int, hop: int):
    front_end = SoundSpec(sampling_rate=RATE, n_fft=size, hop_length=hop, chunk_length=2)
    other = transformers.WhisperFeatureExtractor(
        feature_size=40, chunk_length=2, n_fft=size, hop_length=hop
    )
    for samples in (noise(0.7), noise(2.0), noise(2.0)[:1]):
        ours = padded(log_mel(samples, front_end, 40), front_end.window_frames)
        np.testing.assert_allclose(ours, spectrogram(other, samples), rtol=0, atol=1e-5)


def test_frames_of_another_rate():
    front_end = SoundSpec(sampling_rate=22050, n_fft=512, hop_length=210, chunk_length=2)
    other = transformers.WhisperFeatureExtractor(
        40, sampling_rate=22050, hop_length=210, chunk_length=2, n_fft=512
    )
    samples = noise(0.7, rate=22050)
    ours = padded(log_mel(samples, front_end, 40), front_end.window_frames)
    np.testing.assert_allclose(ours, spectrogram(other, samples), rtol=0, atol=1e-5)


@pytest.mark.parametrize("seconds", [2, 30])
def test_a_processor_gives_what_the_extractor_gives(seconds: int):
    sounds = [noise(0.4), tone(1.9), np.zeros(7, np.float32), noise(2.0)]
    theirs = extractor(seconds, 80)(sounds, sampling_rate=RATE, return_tensors="np")
    ours = AudioProcessor(spec(seconds), 80)(sounds, sampling_rate=RATE)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs["input_features"], rtol=0, atol=1e-4)
