"""AudioEncoder: what it computes, shapes, order, batches, opening, and several at once."""

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llm_compression import WeightLoader, convert
from llm_compression.errors import InputError, WeightTableNotFoundError
from llm_compression.multimodal.audio import layout as audio_layout
from llm_compression.multimodal.audio.encoder import AudioEncoder
from llm_compression.multimodal.audio.layout import NEAR
from tests.multimodal.sounds import encoded, reference
from tests.whisper_checkpoints import RATE, WhisperFactory, noise, tone, write_whisper

E = 16
LENGTHS = [0.0001, 0.02, 0.0201, 0.1, 0.5, 1.0, 1.37, 1.7, 1.99, 2.0]
SILENCE = np.zeros(RATE, np.float32)
SOUNDS = [*(noise(s, seed) for seed, s in enumerate(LENGTHS)), tone(1.1), SILENCE, np.sign(tone(1))]
MODES, FEW = ["exact", "fast"], 8


def close(ours: np.ndarray, theirs: np.ndarray, bound: float = 1e-6) -> None:
    """Within ``bound`` of the values' size."""
    assert (ours.shape, ours.dtype) == (theirs.shape, np.float32)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound * max(1, np.abs(theirs).max()))


@pytest.fixture(params=MODES)
def encoder(
    request: pytest.FixtureRequest, tiny_whisper_table: Path, monkeypatch: pytest.MonkeyPatch
) -> AudioEncoder:
    """Of either mode; of the fast one with so few stretches that they are longer than one."""
    monkeypatch.setattr(audio_layout, "FAR", FEW)
    return AudioEncoder(tiny_whisper_table, mapped=False, mode=request.param)


@pytest.fixture
def singles(encoder: AudioEncoder) -> np.ndarray:
    """Each of `SOUNDS` by itself."""
    return np.stack([encoder.encode(sound, sampling_rate=RATE) for sound in SOUNDS])


# What comes out


def test_it_is_the_mean_of_what_transformers_computes(hearing: AudioEncoder, tiny_whisper: Path):
    for sound in SOUNDS:
        states = reference(tiny_whisper, sound)
        close(hearing.encode(sound, sampling_rate=RATE), states.mean(0), 1e-5)
        close(hearing.sequence(sound, sampling_rate=RATE), states, 1e-5)


def test_it_is_that_in_windows_of_30_seconds(
    long_whisper_table: Path, make_whisper: WhisperFactory
):
    encoder, checkpoint = AudioEncoder(long_whisper_table), make_whisper(seconds=30)
    for sound in (noise(0.4), noise(11.0), noise(30.0), SILENCE):
        states = reference(checkpoint, sound)
        close(encoder.encode(sound, sampling_rate=RATE), states.mean(0), 1e-5)
        close(encoder.sequence(sound, sampling_rate=RATE), states, 1e-5)


def test_silence_has_an_embedding(hearing: AudioEncoder, tiny_whisper: Path):
    """That of so many positions of silence, and no zeros."""
    for samples in (SILENCE, SILENCE[:1], np.zeros(2 * RATE, np.float32)):
        found = hearing.encode(samples, sampling_rate=RATE)
        close(found, reference(tiny_whisper, samples).mean(0), 1e-5)
        assert np.abs(found).max() > 0.01


def test_sounds_have_embeddings_of_their_own(singles: np.ndarray):
    apart = np.linalg.norm(singles[:, None] - singles, axis=2) + 9 * np.eye(len(SOUNDS))
    assert apart.min() > 5e-4


def test_fast_is_another_mode(hearing: AudioEncoder, encoder: AudioEncoder, singles: np.ndarray):
    apart = np.abs(singles - hearing.encode(SOUNDS, sampling_rate=RATE)).max()
    assert (apart < 1e-6) == (encoder.mode == "exact")
    assert apart < 0.01


def test_one_sound_is_a_vector(encoder: AudioEncoder, tmp_path: Path, singles: np.ndarray):
    content = encoded(SOUNDS[5], "wav float")
    path = tmp_path / "sound.wav"
    path.write_bytes(content)
    mapping = {"array": SOUNDS[5], "sampling_rate": RATE}
    with path.open("rb") as file:
        for one in (path, str(path), content, file, mapping):
            close(encoder.encode(one), singles[5])
    for one in (SOUNDS[5], torch.tensor(SOUNDS[5]), np.stack([SOUNDS[5]] * 2)):
        close(encoder.encode(one, sampling_rate=RATE), singles[5])
    assert encoder.encode(content).shape == (E,) == (encoder.get_embedding_dimension(),)


def test_many_are_an_array_in_their_order(encoder: AudioEncoder, singles: np.ndarray):
    close(encoder.encode(SOUNDS, sampling_rate=RATE), singles)
    close(encoder.encode(tuple(SOUNDS[:1]), sampling_rate=RATE), singles[:1])
    mixed = [encoded(SOUNDS[3], "wav float"), {"array": SOUNDS[7], "sampling_rate": RATE}]
    close(encoder.encode(mixed), singles[[3, 7]])


def test_none_are_an_empty_array(encoder: AudioEncoder):
    for none in ([], (), np.array([], object)):
        found = encoder.encode(none)
        assert (found.shape, found.dtype) == ((0, E), np.float32)
        assert encoder.sequence(none) == []
        assert encoder.encode_windows(none).embeddings.shape == (0, E)


def test_unit_length(encoder: AudioEncoder, singles: np.ndarray):
    units = singles / np.linalg.norm(singles, axis=1, keepdims=True)
    close(encoder.encode(SOUNDS, sampling_rate=RATE, normalize_embeddings=True), units)
    close(encoder.encode(SOUNDS[3], sampling_rate=RATE, normalize_embeddings=True), units[3])


def test_sequences(encoder: AudioEncoder, singles: np.ndarray):
    found = encoder.sequence(SOUNDS, sampling_rate=RATE, batch_size=3)
    assert [s.shape for s in found] == [(-(-len(sound) // 320), E) for sound in SOUNDS]
    close(np.stack([states.mean(0) for states in found]), singles)
    close(encoder.sequence(SOUNDS[3], sampling_rate=RATE), found[3])


def test_taps(encoder: AudioEncoder, singles: np.ndarray):
    places = {"exact": 100, "fast": 5 + NEAR + FEW}[encoder.mode]
    taps = encoder.taps(SOUNDS[:4], sampling_rate=RATE)
    shapes = {name: values.shape for name, values in taps.items()}
    states = ["embeddings", "block.00.attn", "block.00.mlp", "block.01.attn", "block.01.mlp",
              "final_norm"]  # fmt: skip
    assert shapes == {
        "frames": (4, 8, 200), **dict.fromkeys(states, (4, places, E)),
        "pooled": (4, E), "embedding": (4, E),
    }  # fmt: skip
    assert all(values.dtype == np.float32 for values in taps.values())
    close(taps["embedding"], singles[:4])
    with pytest.raises(InputError, match="the number of sounds is 0"):
        encoder.taps([])


# Batches


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 64])
def test_company_changes_nothing(batch_size: int, encoder: AudioEncoder, singles: np.ndarray):
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(SOUNDS))
        sounds = [SOUNDS[i] for i in order]
        found = encoder.encode(sounds, sampling_rate=RATE, batch_size=batch_size)
        close(found, singles[order])


@pytest.mark.parametrize("mode", MODES)
def test_company_changes_nothing_in_windows_of_30_seconds(mode: str, long_whisper_table: Path):
    encoder = AudioEncoder(long_whisper_table, mapped=False, mode=mode)
    sounds = [noise(0.3), noise(30.0), tone(9.0), SILENCE, noise(29.7), noise(0.01)]
    alone = np.stack([encoder.encode(sound, sampling_rate=RATE) for sound in sounds])
    for batch_size in (2, 6):
        close(encoder.encode(sounds, sampling_rate=RATE, batch_size=batch_size), alone)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, None, "2"])
def test_no_batch_size(batch_size: Any, hearing: AudioEncoder):
    for run in (hearing.encode, hearing.encode_windows, hearing.sequence):
        with pytest.raises(InputError, match=f"batch_size is {batch_size!r}"):
            run(SOUNDS, sampling_rate=RATE, batch_size=batch_size)


def test_what_is_no_sound_is_named(hearing: AudioEncoder, tmp_path: Path):
    runs = (hearing.encode, hearing.encode_windows, hearing.sequence, hearing.taps)
    for run in runs:
        with pytest.raises(InputError, match="audio is NoneType; pass paths"):
            run(None)
        with pytest.raises(InputError, match="sound 1 holds no samples"):
            run([SOUNDS[0], SOUNDS[0][:0]], sampling_rate=RATE)
        with pytest.raises(InputError, match="sound 0 is an array with sampling_rate None"):
            run(SOUNDS)
        with pytest.raises(InputError, match=f"no sound file at {tmp_path}/missing.wav"):
            run([SOUNDS[0], tmp_path / "missing.wav"], sampling_rate=RATE)


# Opening


def test_from_a_checkpoint_a_table_or_a_folder(
    tiny_whisper: Path, tiny_whisper_table: Path, hearing: AudioEncoder, tmp_path: Path
):
    wanted = hearing.encode(SOUNDS, sampling_rate=RATE)
    shutil.copy(tiny_whisper_table, tmp_path / "model.parquet")
    for place in (tiny_whisper, tiny_whisper_table, str(tiny_whisper_table), tmp_path):
        close(AudioEncoder.from_pretrained(place).encode(SOUNDS, sampling_rate=RATE), wanted)
    for opened in (
        AudioEncoder(tmp_path),
        AudioEncoder(tiny_whisper_table, verify=False),
        AudioEncoder(WeightLoader(tiny_whisper_table)),
    ):
        close(opened.encode(SOUNDS, sampling_rate=RATE), wanted)
    with pytest.raises(WeightTableNotFoundError, match="is a checkpoint, not a weight table"):
        AudioEncoder(tiny_whisper)
    assert repr(hearing) == f"AudioEncoder({str(tiny_whisper_table)!r}, 16 dimensions)"


def test_saved_and_opened_again(hearing: AudioEncoder, tmp_path: Path):
    saved = hearing.save_pretrained(tmp_path / "saved")
    again = AudioEncoder(saved)
    assert again.fingerprint == hearing.fingerprint
    close(again.encode(SOUNDS, sampling_rate=RATE), hearing.encode(SOUNDS, sampling_rate=RATE))


def test_pickled(tiny_whisper_table: Path, tmp_path: Path):
    options: dict[str, Any] = {"mode": "fast", "window": 1.5, "overlap": 0.5}
    encoder = AudioEncoder(
        shutil.copy(tiny_whisper_table, tmp_path), compute_dtype="bfloat16", **options
    )
    content = pickle.dumps(encoder)
    assert len(content) < 1000
    copy = pickle.loads(content)
    assert (copy.mode, copy.compute_dtype) == ("fast", "bfloat16")
    assert (copy.processor.window, copy.processor.overlap) == (1.5, 0.5)
    sounds = [*SOUNDS, noise(5.0)]
    np.testing.assert_array_equal(
        copy.encode(sounds, sampling_rate=RATE), encoder.encode(sounds, sampling_rate=RATE)
    )
    other = convert(write_whisper(tmp_path / "other", seed=1), tmp_path / "other.parquet").path
    shutil.copy(other, encoder.path)
    with pytest.raises(InputError, match="holds another model than when it was pickled"):
        pickle.loads(content)


def test_bfloat16_is_close(tiny_whisper_table: Path, hearing: AudioEncoder):
    whole = hearing.encode(SOUNDS, sampling_rate=RATE)
    encoder = AudioEncoder(tiny_whisper_table, compute_dtype="bfloat16")
    half = encoder.encode(SOUNDS, sampling_rate=RATE)
    assert half.dtype == np.float32
    assert not np.array_equal(half, whole)
    lengths = np.linalg.norm(half, axis=1) * np.linalg.norm(whole, axis=1)
    assert ((half * whole).sum(1) / lengths).min() > 0.999


# Many at once


def test_several_threads_at_once(encoder: AudioEncoder, singles: np.ndarray):
    sounds = [encoded(sound, "wav float") for sound in SOUNDS]

    def run(turn: int) -> None:
        order = np.random.default_rng(turn).permutation(len(SOUNDS))
        found = encoder.encode([sounds[i] for i in order], batch_size=1 + turn % 5)
        close(found, singles[order])

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(run, turn) for turn in range(24)]:
            future.result()


def test_a_progress_bar(hearing: AudioEncoder, capsys: pytest.CaptureFixture[str]):
    sounds = [*SOUNDS, noise(5.0)]
    for run in (hearing.encode, hearing.encode_windows):
        run(sounds, sampling_rate=RATE)
        assert capsys.readouterr() == ("", "")
        run(sounds, sampling_rate=RATE, show_progress_bar=False)
        assert capsys.readouterr() == ("", "")
        run(sounds, sampling_rate=RATE, show_progress_bar=True, batch_size=4)
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "16/16" in shown.err
        assert "window" in shown.err
