"""Any rate becomes 16 kHz as librosa makes it, although block by block."""

from pathlib import Path

import librosa
import numpy as np
import pytest

from llm_compression.multimodal.audio import input as audio_input
from tests.multimodal.sounds import FORMATS, at_16_khz, encoded
from tests.whisper_checkpoints import RATE, noise, tone

old_imports = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # librosa.load has some
RATES = [8000, 11025, 22050, 32000, 44100, 48000, 96000]


def by_librosa(samples: np.ndarray, rate: int) -> np.ndarray:
    return librosa.resample(samples, orig_sr=rate, target_sr=RATE, res_type="soxr_hq")


def same(ours: np.ndarray, theirs: np.ndarray, bound: float = 1e-5) -> None:
    assert (ours.dtype, ours.shape) == (np.float32, theirs.shape)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


@old_imports
@pytest.mark.parametrize("rate", RATES)
def test_as_librosa_resamples(rate: int):
    for seconds in (0.0001, 0.01, 1.0, 2.345):
        samples = noise(seconds, rate=rate) + tone(seconds, 300, rate)[: round(seconds * rate)]
        same(at_16_khz(samples, rate), by_librosa(samples, rate))


@old_imports
@pytest.mark.parametrize("kind", ["wav 8", "wav 24", "flac 16"])
@pytest.mark.parametrize("rate", RATES)
def test_as_librosa_loads(rate: int, kind: str, tmp_path: Path):
    samples = np.stack([noise(0.7, seed, rate) for seed in range(2)], axis=1)
    path = tmp_path / f"sound.{FORMATS[kind][0].lower()}"
    path.write_bytes(encoded(samples, kind, rate))
    loaded, _ = librosa.load(path, sr=RATE, mono=True, res_type="soxr_hq")
    same(at_16_khz(path), loaded)


@old_imports
def test_speech_as_librosa_loads_it(assets: Path):
    loaded, _ = librosa.load(assets / "jfk.flac", sr=RATE, mono=True, res_type="soxr_hq")
    same(at_16_khz(assets / "jfk.flac"), loaded)
    assert len(loaded) == 11 * RATE


def test_at_16_khz_nothing_changes():
    samples = noise(1.0)
    np.testing.assert_array_equal(at_16_khz(samples, RATE), samples)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("block", [64, 1000, 4097])
def test_blocks_join_without_a_seam(block: int, rate: int, monkeypatch: pytest.MonkeyPatch):
    samples = noise(0.5, rate=rate)
    whole = at_16_khz(samples, rate)
    monkeypatch.setattr(audio_input, "_BLOCK", block)
    np.testing.assert_allclose(at_16_khz(samples, rate), whole, rtol=0, atol=1e-6)
    content = encoded(samples, "wav float", rate)
    np.testing.assert_allclose(at_16_khz(content), whole, rtol=0, atol=1e-6)


def test_a_sound_of_several_whole_blocks():
    """Of the true size, 12 seconds each at this rate."""
    samples = noise(30, rate=44100)
    assert len(samples) > 2 * audio_input._BLOCK
    same(at_16_khz(samples, 44100), by_librosa(samples, 44100))
    stereo = np.stack([samples, -samples, samples])
    same(at_16_khz(stereo, 44100), by_librosa(stereo.mean(axis=0), 44100))


@pytest.mark.parametrize("rate", [8000, 44100, 96000])
def test_a_tone_keeps_its_pitch(rate: int):
    found = at_16_khz(tone(1.0, 440, rate), rate)
    spectrum = np.abs(np.fft.rfft(found))
    assert spectrum.argmax() * RATE / len(found) == 440


def test_what_16_khz_cannot_hold_is_filtered_out():
    """Folded back, a tone of 10 kHz would sound as one of 6 kHz."""
    assert np.abs(at_16_khz(tone(1.0, 10_000, 48000), 48000)[2000:-2000]).max() < 1e-4


@pytest.mark.parametrize("rate", [8000, 44100, 96000])
def test_one_sample_is_a_sound_at_every_rate(rate: int):
    assert len(at_16_khz(np.full(1, 0.5, np.float32), rate)) >= 1
