"""The fast mode's layout: every position counts once, and the core computes what it says."""

from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_compression.multimodal.audio import layout as audio_layout
from llm_compression.multimodal.audio.encoder import AudioEncoder
from llm_compression.multimodal.audio.layout import FAR, NEAR, convolved, fast_layout
from tests.multimodal.sounds import spectrogram
from tests.whisper_checkpoints import RATE, WhisperFactory, noise

ALL = 1500
HEARD = [1, 2, 50, 100, 549, 550, 1000, ALL - NEAR - FAR - 1, ALL - NEAR - FAR, 1400,
         ALL - NEAR - 1, ALL - NEAR, ALL - NEAR + 1, ALL - 1, ALL]  # fmt: skip


def weights(heard: int, positions: int = ALL) -> torch.Tensor:
    """For how many positions each place counts (T,)."""
    return fast_layout([heard], positions).scores[0].double().exp()


@pytest.mark.parametrize("heard", HEARD)
def test_counts_add_up_to_all_positions(heard: int):
    found = weights(heard)
    assert torch.allclose(found, found.round(), atol=1e-4)
    assert int(found.round().sum()) == ALL
    assert (found.round() >= 1).all()


@pytest.mark.parametrize("heard", HEARD)
def test_those_that_hear_are_there_each_once_and_in_order(heard: int):
    layout = fast_layout([heard], ALL)
    near = min(heard + NEAR, ALL)
    for indices in (layout.source, layout.position):
        assert indices[0, :near].tolist() == [*range(near)]
    assert (layout.scores[0, :near] == 0).all()


@pytest.mark.parametrize("heard", HEARD)
def test_each_place_behind_stands_in_its_stretch(heard: int):
    layout, near = fast_layout([heard], ALL), min(heard + NEAR, ALL)
    lengths = weights(heard)[near:].round().long()
    stops = near + lengths.cumsum(0)
    assert len(lengths) == min(FAR, ALL - near)
    assert (layout.position[0, near:] < stops).all()
    assert (layout.position[0, near:] >= stops - lengths).all()
    assert lengths.numel() == 0 or lengths.max() - lengths.min() <= 1


@pytest.mark.parametrize("heard", HEARD)
def test_places_are_within_the_window_and_what_is_convolved(heard: int):
    layout, run = fast_layout([heard], ALL), convolved([heard], ALL)
    assert layout.source.min() == layout.position.min() == 0
    assert layout.position.max() < ALL
    assert layout.source.max() < run <= ALL
    # the last one that is run may hear the end of the frames, so the layout leaves it out
    assert run == ALL or layout.source.max() < run - 1
    assert (layout.source[0, heard + NEAR :] == min(heard + NEAR, ALL - 1)).all()


@pytest.mark.parametrize("heard", [ALL - NEAR, ALL - 3, ALL])
def test_of_a_long_sound_every_position_is_run(heard: int):
    layout = fast_layout([heard], ALL)
    assert layout.position.tolist() == layout.source.tolist() == [[*range(ALL)]]
    assert not layout.scores.any()


@pytest.mark.parametrize("positions", [1, 2, NEAR, NEAR + 1, 100, 113, 114, 750])
def test_windows_of_other_lengths(positions: int):
    for heard in {1, positions // 2 or 1, positions}:
        layout = fast_layout([heard], positions)
        assert int(weights(heard, positions).round().sum()) == positions
        assert layout.source.max() <= layout.position.max() < positions


def test_a_batch_is_each_alone_with_nothing_behind():
    batch = fast_layout(HEARD, ALL)
    longest = batch.position.shape[1]
    assert longest == ALL
    for row, heard in enumerate(HEARD):
        alone = fast_layout([heard], ALL)
        length = alone.position.shape[1]
        assert torch.equal(batch.position[row, :length], alone.position[0])
        assert torch.equal(batch.source[row, :length], alone.source[0])
        assert torch.equal(batch.scores[row, :length], alone.scores[0])
        assert (batch.scores[row, length:] == -torch.inf).all()
        assert (batch.source[row, length:] < convolved(HEARD, ALL)).all()
    assert convolved(HEARD, ALL) == max(convolved([heard], ALL) for heard in HEARD)


# What the core makes of it


@pytest.fixture(scope="module")
def long_whisper(make_whisper: WhisperFactory) -> Path:
    """The checkpoint of `long_whisper_table`."""
    return make_whisper(seconds=30)


def by_repetition(checkpoint: Path, samples: np.ndarray) -> np.ndarray:
    """The embedding, by transformers, of a window whose silence is as the layout describes it.

    A place that counts for many stands there so many times.
    """
    import transformers

    extractor = transformers.WhisperFeatureExtractor.from_pretrained(checkpoint)
    model = transformers.WhisperModel.from_pretrained(checkpoint).encoder.eval()
    heard = -(-len(samples) // 320)
    layout = fast_layout([heard], ALL)
    counts = layout.scores[0].exp().round().long()
    with torch.inference_mode():
        frames = torch.from_numpy(spectrogram(extractor, samples))[None]
        hidden = torch.nn.functional.gelu(model.conv1(frames))
        hidden = torch.nn.functional.gelu(model.conv2(hidden))[0].T
        hidden = hidden[layout.source[0]] + model.embed_positions.weight[layout.position[0]]
        hidden = hidden.repeat_interleave(counts, dim=0)[None]
        assert hidden.shape[1] == ALL
        # release 4 asks for a mask of heads
        wanted = {"layer_head_mask"} & set(signature(type(model.layers[0]).forward).parameters)
        for layer in model.layers:
            out = layer(hidden, None, **dict.fromkeys(wanted))
            hidden = out[0] if isinstance(out, tuple) else out
        found: np.ndarray = model.layer_norm(hidden)[0, :heard].mean(0).numpy()
        return found


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-6)


@pytest.mark.parametrize("far", [1, 7, FAR, 10**6])
@pytest.mark.parametrize("seconds", [0.02, 1.0, 12.3])
def test_a_place_counts_as_often_as_its_stretch_is_long(
    seconds: float, far: int, long_whisper: Path, long_whisper_table: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.setattr(audio_layout, "FAR", far)
    encoder = AudioEncoder(long_whisper_table, mapped=False, mode="fast")
    samples = noise(seconds)
    ours = encoder.encode(samples, sampling_rate=RATE)
    close(ours, by_repetition(long_whisper, samples))


@pytest.mark.parametrize("seconds", [0.02, 1.0, 12.3, 30.0])
def test_with_every_position_near_it_is_the_exact_mode(
    seconds: float, long_whisper_table: Path, monkeypatch: pytest.MonkeyPatch
):
    samples = noise(seconds)
    exact = AudioEncoder(long_whisper_table, mapped=False).encode(samples, sampling_rate=RATE)
    monkeypatch.setattr(audio_layout, "NEAR", ALL)
    fast = AudioEncoder(long_whisper_table, mapped=False, mode="fast")
    close(fast.encode(samples, sampling_rate=RATE), exact)


@pytest.mark.parametrize("seconds", [0.02, 1.0, 12.3, 30.0])
def test_with_every_position_far_only_the_last_one_differs(
    seconds: float, long_whisper_table: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where the reference's convolutions reach over the window's end, ours hear silence."""
    samples = noise(seconds)
    exact = AudioEncoder(long_whisper_table, mapped=False).encode(samples, sampling_rate=RATE)
    monkeypatch.setattr(audio_layout, "FAR", ALL)
    fast = AudioEncoder(long_whisper_table, mapped=False, mode="fast")
    found = fast.encode(samples, sampling_rate=RATE)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-5)


@pytest.mark.parametrize("seconds", [0.1, 1.0, 5.0])
def test_fast_is_close_and_another_mode(seconds: float, long_whisper_table: Path):
    samples = noise(seconds)
    exact, fast = (
        AudioEncoder(long_whisper_table, mapped=False, mode=mode).encode(
            samples, sampling_rate=RATE
        )
        for mode in ("exact", "fast")
    )
    assert not np.array_equal(fast, exact)
    assert fast @ exact / np.linalg.norm(fast) / np.linalg.norm(exact) > 0.99999


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_callers_default_type_changes_no_layout(dtype: torch.dtype) -> None:
    wanted = fast_layout([3, 50, 700], 1500)
    torch.set_default_dtype(dtype)
    try:
        found = fast_layout([3, 50, 700], 1500)
    finally:
        torch.set_default_dtype(torch.float32)
    for name in ("source", "position", "scores"):
        one, other = getattr(found, name), getattr(wanted, name)
        assert one.dtype is other.dtype
        assert torch.equal(one, other)
