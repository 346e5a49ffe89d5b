"""Sounds that cannot be read: the first is named, or they are left out and listed."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from llm_compression.errors import InputError
from llm_compression.multimodal.audio.encoder import AudioEncoder
from llm_compression.multimodal.skipped import EncodedInputs, SkippedInputWarning
from tests.multimodal.sounds import encoded
from tests.whisper_checkpoints import RATE, noise, tone

BROKEN = b"no sound"
LATE = np.concatenate([tone(36.0), np.full(1, np.nan, np.float32)])  # in its second block
FLAC = encoded(tone(60.0) + noise(60.0), "flac 16")
LATE_FILE = FLAC[: 9 * len(FLAC) // 10]
SHORT = [0.2 * tone(0.1 + 0.01 * (i % 9), 200 + 20 * i) for i in range(40)]


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert (ours.shape, ours.dtype) == (theirs.shape, np.float32)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * max(1, np.abs(theirs).max()))


@pytest.fixture(params=["exact", "fast"])
def encoder(request: pytest.FixtureRequest, tiny_whisper_table: Path) -> AudioEncoder:
    """Of either mode."""
    return AudioEncoder(tiny_whisper_table, mapped=False, mode=request.param)


def thousand() -> tuple[list[object], list[int]]:
    """Short sounds, among them one broken at its header and two far behind it, and which."""
    sounds: list[object] = [SHORT[i % len(SHORT)] for i in range(1000)]
    sounds[300], sounds[617], sounds[900] = BROKEN, LATE_FILE, LATE
    return sounds, [300, 617, 900]


def test_the_late_ones_break_after_some_windows(hearing: AudioEncoder):
    for source in (LATE, LATE_FILE):
        windows = hearing.processor.windows(source, "sound 7", RATE)
        for _ in range(16):
            next(windows)
        with pytest.raises(InputError, match=r"sound 7 (is damaged|holds NaN)"):
            list(windows)


def test_broken_sounds_among_a_thousand_are_skipped(encoder: AudioEncoder):
    """Nothing of them is left in the others, whose batches they shared."""
    sounds, broken = thousand()
    with pytest.warns(SkippedInputWarning, match="3 of 1000 sounds were skipped, .* sound 300 is"):
        found = encoder.encode(sounds, sampling_rate=RATE, on_error="skip", batch_size=32)
    assert isinstance(found, EncodedInputs)
    kept = [i for i in range(1000) if i not in broken]
    assert found.indices.tolist() == kept
    assert list(found.skipped) == broken
    singles = encoder.encode(SHORT, sampling_rate=RATE)
    same(found.embeddings, singles[[i % len(SHORT) for i in kept]])
    assert found.skipped[300].startswith("sound 300 is no sound that libsndfile reads")
    assert found.skipped[617].startswith("sound 617 is damaged: ")
    assert found.skipped[900].startswith("sound 900 holds NaN or infinite samples")


def test_windows_of_broken_sounds_among_a_thousand_are_skipped(encoder: AudioEncoder):
    sounds, broken = thousand()
    with pytest.warns(SkippedInputWarning, match="3 of 1000 sounds were skipped, .* sound 300 is"):
        found = encoder.encode_windows(sounds, sampling_rate=RATE, on_error="skip", batch_size=32)
    kept = [i for i in range(1000) if i not in broken]
    assert found.sounds.tolist() == kept
    assert list(found.skipped) == broken
    singles = encoder.encode(SHORT, sampling_rate=RATE)
    same(found.embeddings, singles[[i % len(SHORT) for i in kept]])
    assert (found.starts == 0).all()
    assert (found.stops < 0.2).all()


def test_the_first_broken_sound_among_a_thousand_is_named(encoder: AudioEncoder):
    sounds, _ = thousand()
    for run in (encoder.encode, encoder.encode_windows, encoder.sequence):
        with pytest.raises(InputError, match="sound 300 is no sound"):
            run(sounds, sampling_rate=RATE)
    sounds[300] = SHORT[0]
    with pytest.raises(InputError, match="sound 617 is damaged: "):
        encoder.encode(sounds, sampling_rate=RATE, batch_size=64)


def test_a_file_that_is_broken_is_named_by_its_path(hearing: AudioEncoder, tmp_path: Path):
    path = tmp_path / "cut.flac"
    path.write_bytes(LATE_FILE)
    for run in (hearing.encode, hearing.encode_windows, hearing.sequence):
        with pytest.raises(InputError, match=re.escape(f"{path} is damaged")):
            run([SHORT[0], path], sampling_rate=RATE)
    with pytest.warns(SkippedInputWarning, match=re.escape(f"{path} is damaged")):
        hearing.encode([path], on_error="skip")


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_several_are_skipped(batch_size: int, encoder: AudioEncoder):
    broken: dict[int, object] = {
        0: BROKEN, 4: None, 5: np.full(9, np.inf), 8: LATE, 10: "missing.wav", 39: LATE_FILE,
    }  # fmt: skip
    sounds: list[object] = [broken.get(i, sound) for i, sound in enumerate(SHORT)]
    with pytest.warns(SkippedInputWarning, match="6 of 40 sounds were skipped, .* sound 0 is"):
        found = encoder.encode(sounds, sampling_rate=RATE, batch_size=batch_size, on_error="skip")
    kept = [i for i in range(40) if i not in broken]
    assert found.indices.tolist() == kept
    same(found.embeddings, encoder.encode([SHORT[i] for i in kept], sampling_rate=RATE))
    assert list(found.skipped) == list(broken)
    for index, why in found.skipped.items():
        assert ("missing.wav" if index == 10 else f"sound {index} ") in why


def test_all_are_skipped(encoder: AudioEncoder):
    for sounds, count in (([BROKEN, LATE, b""], 3), (BROKEN, 1), (LATE, 1)):
        with pytest.warns(SkippedInputWarning, match=f"{count} of {count} sounds"):
            found = encoder.encode(sounds, sampling_rate=RATE, on_error="skip")
        assert found.embeddings.shape == (0, 16)
        assert found.indices.shape == (0,)
        assert len(found.skipped) == count
        with pytest.warns(SkippedInputWarning):
            windows = encoder.encode_windows(sounds, sampling_rate=RATE, on_error="skip")
        assert windows.embeddings.shape == (0, 16)
        assert len(windows.skipped) == count


def test_none_is_skipped(encoder: AudioEncoder):
    """Without a warning, which would be an error here."""
    singles = encoder.encode(SHORT, sampling_rate=RATE)
    found = encoder.encode(SHORT, sampling_rate=RATE, on_error="skip")
    same(found.embeddings, singles)
    assert (found.indices.tolist(), found.skipped) == ([*range(40)], {})
    same(encoder.encode(SHORT[3], sampling_rate=RATE, on_error="skip").embeddings, singles[3:4])
    assert encoder.encode([], on_error="skip").embeddings.shape == (0, 16)


def test_the_rest_of_unit_length(hearing: AudioEncoder):
    sounds = [LATE, SHORT[0], SHORT[1]]
    with pytest.warns(SkippedInputWarning):
        found = hearing.encode(
            sounds, sampling_rate=RATE, on_error="skip", normalize_embeddings=True
        )
    np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-6)


def test_the_warning_points_at_the_caller(hearing: AudioEncoder):
    for run in (hearing.encode, hearing.encode_windows):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run([BROKEN], on_error="skip")
        assert [warning.filename for warning in caught] == [__file__]


def test_no_way_to_deal_with_errors(hearing: AudioEncoder):
    for odd in ("ignore", None, True):
        for run in (hearing.encode, hearing.encode_windows):
            with pytest.raises(InputError, match=f"on_error {odd!r} is not one of raise, skip"):
                run(SHORT, on_error=odd)  # type: ignore[call-overload]


def test_options_are_no_inputs_to_skip(hearing: AudioEncoder):
    with pytest.raises(InputError, match="batch_size is 0"):
        hearing.encode(SHORT, sampling_rate=RATE, batch_size=0, on_error="skip")


def test_a_progress_bar_passes_over_broken_sounds(
    hearing: AudioEncoder, capsys: pytest.CaptureFixture[str]
):
    with pytest.warns(SkippedInputWarning):
        hearing.encode(
            [BROKEN, *SHORT], sampling_rate=RATE, on_error="skip", show_progress_bar=True
        )
    assert "40/40" in capsys.readouterr().err
