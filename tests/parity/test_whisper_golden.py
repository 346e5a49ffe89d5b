"""The golden Whisper: without transformers, what makes it right, and that each part counts."""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llm_compression import WeightLoader
from llm_compression.errors import TensorNotFoundError
from llm_compression.multimodal.audio import model as audio_model
from llm_compression.multimodal.audio.encoder import AudioEncoder
from llm_compression.multimodal.audio.tower import AudioTower, bind_audio_tower
from llm_compression.spec.block import Activation, AttentionBias, BlockSpec, NormPlacement
from llm_compression.spec.model import Family, ModelSpec
from llm_compression.spec.sound import SoundSpec
from scripts.make_whisper_golden import EVERY_FRAME, EVERY_POSITION, sounds
from tests.parity.test_tiny_whisper import WRONG
from tests.whisper_checkpoints import RATE

FOLDER = Path(__file__).parent / "golden"
GOLDEN = FOLDER / "whisper.parquet"
SHA256 = "d481d1ade203222f3fff6dc74aeb753985b87cdf5e57ab068956ea5138bf9e62"
ANSWERS = json.loads((FOLDER / "whisper.json").read_text())
ALLOWED = 1e-5
VISIBLE = 10 * ALLOWED


class Respecified(WeightLoader):
    """The golden weights under a changed spec."""

    change: dict[str, object]

    @property
    def spec(self) -> ModelSpec:
        whole = super().spec
        assert whole.audio is not None
        block: BlockSpec = replace(whole.audio.block, **self.change)  # type: ignore[arg-type]
        return replace(whole, audio=replace(whole.audio, block=block))


@pytest.fixture(autouse=True)
def without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever imports the library fails."""
    monkeypatch.setitem(sys.modules, "transformers", None)


def errors(**change: object) -> np.ndarray:
    """The largest error of each sound's embedding, under a changed block spec."""
    loader = Respecified(GOLDEN)
    loader.change = change
    found = AudioEncoder(loader).encode(list(sounds().values()), sampling_rate=RATE)
    wanted = np.array([ANSWERS["embeddings"][name] for name in sounds()])
    return np.abs(found - wanted).max(1)


def test_is_the_file_that_was_first_written() -> None:
    assert hashlib.sha256(GOLDEN.read_bytes()).hexdigest() == SHA256
    assert GOLDEN.stat().st_size < 80_000


def test_holds_what_is_to_be_proved() -> None:
    spec = WeightLoader(GOLDEN).spec
    assert spec.family is Family.WHISPER
    assert spec.sound == SoundSpec(sampling_rate=16000, n_fft=400, hop_length=160, chunk_length=2)
    assert spec.audio is not None
    assert spec.audio.block == BlockSpec(
        16, 4, 32, NormPlacement.PRE, 1e-5, Activation.GELU,
        causal=False, attention_bias=AttentionBias.ALL_BUT_KEY,
    )  # fmt: skip
    positions = WeightLoader(GOLDEN).get_tensor("audio.embeddings.position")
    assert positions.shape == (100, 16)
    assert positions.float().std() > 0.5


def test_embeddings_are_those_of_transformers() -> None:
    found = errors()
    assert found.shape == (5,)
    assert found.max() < ALLOWED
    assert np.ptp(list(ANSWERS["embeddings"].values()), axis=0).max() > 0.3, "sounds differ"


def test_a_sound_alone_has_the_same_embedding() -> None:
    encoder = AudioEncoder(GOLDEN)
    for name, sound in sounds().items():
        found = encoder.encode(sound, sampling_rate=RATE)
        np.testing.assert_allclose(found, ANSWERS["embeddings"][name], atol=ALLOWED)


def test_frames_and_states_are_those_of_transformers() -> None:
    taps = AudioEncoder(GOLDEN).taps([sounds()["clicks"]], sampling_rate=RATE)
    frames, states = taps["frames"][0, :, ::EVERY_FRAME], taps["final_norm"][0, ::EVERY_POSITION]
    np.testing.assert_allclose(frames, ANSWERS["frames"], atol=ALLOWED)
    np.testing.assert_allclose(states, ANSWERS["states"], atol=ALLOWED)
    assert np.ptp(frames) > 1


@pytest.mark.parametrize(
    "change",
    [
        {"norm_placement": NormPlacement.POST},
        {"activation": Activation.GELU_TANH},
        {"activation": Activation.QUICK_GELU},
        {"activation": Activation.RELU},
        {"norm_eps": 0.1},
        {"num_heads": 2},
        {"causal": True},
    ],
    ids=["post-norm", "tanh-gelu", "quick-gelu", "relu", "epsilon", "heads", "causal"],
)
def test_a_block_of_another_kind_shows(change: dict[str, object]) -> None:
    assert errors(**change).max() > VISIBLE


def test_a_key_projection_has_no_bias() -> None:
    with pytest.raises(TensorNotFoundError, match=r"no tensor 'audio\.block\.00\.attn\.k\.bias'"):
        errors(attention_bias=AttentionBias.ALL)


@pytest.mark.parametrize("change", [change for change, _ in WRONG.values()], ids=WRONG)
def test_a_wrong_tower_shows(
    change: Callable[[AudioTower], AudioTower], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_model, "bind_audio_tower", lambda *a: change(bind_audio_tower(*a)))
    assert errors().max() > VISIBLE


def test_a_mean_over_silence_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_model, "mean_of_first", lambda hidden, _counts: hidden.mean(dim=1))
    found = dict(zip(sounds(), errors(), strict=True))
    assert found.pop("clicks") < ALLOWED, "its window holds no silence behind it"
    assert min(found.values()) > VISIBLE
