"""A Whisper's config and preprocessing become its spec as transformers reads them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from llm_compression import convert, export
from llm_compression.conversion.config import Config
from llm_compression.conversion.preprocessing import read_sound
from llm_compression.conversion.whisper import DEFAULTS, audio_decoder_spec, audio_spec
from llm_compression.errors import CheckpointError, UnknownArchitectureError
from llm_compression.multimodal.audio.processor import AudioProcessor
from llm_compression.spec.block import Activation, AttentionBias, BlockSpec, NormPlacement
from llm_compression.spec.model import Family, ModelSpec
from llm_compression.spec.sound import SoundSpec
from llm_compression.spec.towers import AudioDecoderSpec, AudioSpec
from llm_compression.weights.reader import WeightTable
from tests.conftest import write_json
from tests.conversion.checkpoints import edit_config, edit_json
from tests.whisper_checkpoints import WhisperFactory, front_end, noise, tone

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
SOUND = SoundSpec(sampling_rate=16000, n_fft=400, hop_length=160, chunk_length=2)
BIAS = AttentionBias.ALL_BUT_KEY


@pytest.fixture
def whisper(tiny_whisper: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Whisper."""
    return shutil.copytree(tiny_whisper, tmp_path / "whisper")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a front end alone."""
    write_json(tmp_path / PREPROCESSOR, front_end(2, 8))
    return tmp_path


def spec_of(target: Path) -> ModelSpec:
    return WeightTable(target).manifest.spec


def test_the_spec_says_what_the_config_says(make_whisper: WhisperFactory, target: Path):
    folder = make_whisper(
        d_model=24, encoder_layers=3, encoder_attention_heads=6, encoder_ffn_dim=20,
        decoder_layers=1, decoder_attention_heads=3, decoder_ffn_dim=28, vocab_size=44,
        activation_function="gelu_new",
    )  # fmt: skip
    convert(folder, target, keep_decoder=True)
    assert spec_of(target) == ModelSpec(
        Family.WHISPER, None, None, None, sound=SOUND,
        audio=AudioSpec(8, 100, 3, BlockSpec(
            24, 6, 20, NormPlacement.PRE, 1e-5, Activation.GELU_TANH, False, BIAS,
        )),
        audio_decoder=AudioDecoderSpec(44, 12, 1, BlockSpec(
            24, 3, 28, NormPlacement.PRE, 1e-5, Activation.GELU_TANH, True, BIAS,
        )),
    )  # fmt: skip


def test_a_decoder_that_is_left_out_is_not_spoken_of(whisper: Path, target: Path):
    convert(whisper, target, keep_decoder=True)
    kept = spec_of(target)
    convert(whisper, target)
    alone = spec_of(target)
    assert (alone.audio, alone.sound, alone.dimension) == (kept.audio, kept.sound, 16)
    assert alone.audio_decoder is None
    assert kept.audio_decoder is not None


@pytest.mark.parametrize("key", ["decoder_layers", "decoder_ffn_dim", "vocab_size"])
def test_what_the_config_says_of_a_decoder_counts_only_if_it_is_kept(
    key: str, whisper: Path, target: Path
):
    before = convert(whisper, target).fingerprint
    edit_config(whisper, **{key: "?"})
    assert convert(whisper, target).fingerprint == before
    with pytest.raises(CheckpointError, match=f"{key} = '\\?'"):
        convert(whisper, target, keep_decoder=True)


def test_a_config_that_says_nothing_is_that_of_transformers():
    from transformers import WhisperConfig

    theirs = Config(WhisperConfig().to_dict(), "here")
    ours = Config({}, "here", defaults=DEFAULTS)
    assert audio_spec(ours) == audio_spec(theirs)
    assert audio_decoder_spec(ours) == audio_decoder_spec(theirs)


@pytest.mark.parametrize("key", ["activation_function", "scale_embedding", "tie_word_embeddings"])
def test_a_value_that_is_left_out_is_the_usual_one(key: str, whisper: Path, target: Path):
    before = convert(whisper, target).fingerprint
    edit_config(whisper, drop=(key,))
    assert convert(whisper, target).fingerprint == before


def test_without_a_preprocessor_config_a_note_says_so(make_whisper: WhisperFactory, target: Path):
    folder = make_whisper(seconds=30)
    stated = convert(folder, target)
    spec = spec_of(target)
    (folder / PREPROCESSOR).unlink()
    guessed = convert(folder, target)
    assert stated.notes == ()
    assert len(guessed.notes) == 1
    assert f"no {PREPROCESSOR}" in guessed.notes[0]
    assert "16 kHz in windows of 30 s" in guessed.notes[0]
    assert spec_of(target) == spec


def test_without_a_preprocessor_config_windows_are_of_30_seconds(whisper: Path, target: Path):
    (whisper / PREPROCESSOR).unlink()
    with pytest.raises(CheckpointError, match="sound gives 3000 frames; the 100 positions "):
        convert(whisper, target)


def test_the_processor_of_transformers_5(whisper: Path, target: Path, tmp_path: Path):
    before = convert(whisper, target)
    (whisper / PREPROCESSOR).unlink()
    values = {"feature_extractor": front_end(2, 8), "processor_class": "WhisperProcessor"}
    write_json(whisper / PROCESSOR, values)
    after = convert(whisper, target)
    assert (after.fingerprint, after.notes) == (before.fingerprint, ())
    assert json.loads((export(target, tmp_path / "back") / PROCESSOR).read_text()) == values


def test_the_file_of_transformers_5_wins_over_an_older_one(folder: Path):
    """transformers/feature_extraction_utils.py, get_feature_extractor_dict."""
    write_json(folder / PROCESSOR, {"feature_extractor": {**front_end(3, 8), "n_fft": 512}})
    assert read_sound(folder, 8) == (SoundSpec(16000, 512, 160, 3), True)


def test_a_processor_that_speaks_of_no_sound_leaves_the_older_file(folder: Path):
    write_json(folder / PROCESSOR, {"processor_class": "WhisperProcessor"})
    assert read_sound(folder, 8) == (SOUND, True)


def test_the_values_of_the_front_end(folder: Path):
    edit_json(folder / PREPROCESSOR, sampling_rate=8000, n_fft=200, hop_length=80, chunk_length=5)
    assert read_sound(folder, 8) == (SoundSpec(8000, 200, 80, 5), True)


@pytest.mark.parametrize("key", front_end(30, 80))
def test_a_key_of_the_front_end_that_is_left_out_is_that_of_transformers(key: str, folder: Path):
    from transformers import WhisperFeatureExtractor

    write_json(folder / PREPROCESSOR, front_end(30, 80))
    whole = read_sound(folder, 80)
    edit_json(folder / PREPROCESSOR, drop=(key,))
    assert read_sound(folder, 80) == whole
    theirs = WhisperFeatureExtractor.from_pretrained(folder)
    assert (theirs.n_samples, theirs.nb_max_frames) == (
        whole[0].window_samples,
        whole[0].window_frames,
    )


SETTINGS: dict[str, dict[str, int]] = {
    "as OpenAI writes it": {},
    "more mel bins": {"feature_size": 128},
    "more frames": {"hop_length": 80},
    "longer frames": {"n_fft": 1024},
    "shorter windows": {"chunk_length": 1},
    "22 kHz": {"sampling_rate": 22050, "hop_length": 210},
    "48 kHz": {"sampling_rate": 48000, "hop_length": 480, "n_fft": 1200},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_frames_are_those_of_transformers(settings: dict[str, int], folder: Path):
    from transformers import WhisperFeatureExtractor

    edit_json(folder / PREPROCESSOR, **{"feature_size": 80, **settings})
    theirs = WhisperFeatureExtractor.from_pretrained(folder)
    spec, _ = read_sound(folder, theirs.feature_size)
    sounds = [noise(0.4, rate=spec.sampling_rate), tone(1.0, rate=spec.sampling_rate)]
    found = AudioProcessor(spec, theirs.feature_size)(sounds, sampling_rate=spec.sampling_rate)
    whole = np.stack([np.pad(s, (0, spec.window_samples - len(s))) for s in sounds])
    np.testing.assert_allclose(found, theirs._np_extract_fbank_features(whole, "cpu"), atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["Wav2Vec2FeatureExtractor", "Speech2TextFeatureExtractor", "ClapFeatureExtractor", 3]
)
def test_other_feature_extractors_are_refused_by_name(kind: object, folder: Path):
    edit_json(folder / PREPROCESSOR, feature_extractor_type=kind)
    with pytest.raises(UnknownArchitectureError) as caught:
        read_sound(folder, 8)
    assert str(folder / PREPROCESSOR) in str(caught.value)
    assert str(kind) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"), [("do_normalize", True), ("dither", 0.1), ("dither", 1e-5)]
)
def test_a_front_end_that_does_more_is_refused_by_what_it_does(
    key: str, value: object, folder: Path
):
    edit_json(folder / PREPROCESSOR, **{key: value})
    with pytest.raises(UnknownArchitectureError) as caught:
        read_sound(folder, 8)
    assert str(folder / PREPROCESSOR) in str(caught.value)
    assert key in str(caught.value)
    assert "not WhisperFeatureExtractor" not in str(caught.value), "that is what it is"


@pytest.mark.parametrize("values", [{"do_normalize": False}, {"dither": 0.0}, {"dither": 0}])
def test_a_front_end_that_says_that_it_does_no_more(values: dict[str, object], folder: Path):
    edit_json(folder / PREPROCESSOR, **values)
    assert read_sound(folder, 8) == (SOUND, True)


@pytest.mark.parametrize("bins", [80, 7, "8", 8.5, None])
def test_another_number_of_mel_bins_than_the_towers(bins: object, folder: Path):
    edit_json(folder / PREPROCESSOR, feature_size=bins)
    with pytest.raises(CheckpointError) as caught:
        read_sound(folder, 8)
    for word in (str(folder / PREPROCESSOR), f"feature_size is {bins}", "num_mel_bins = 8"):
        assert word in str(caught.value)


@pytest.mark.parametrize("key", ["sampling_rate", "n_fft", "hop_length", "chunk_length"])
@pytest.mark.parametrize("value", ["400", 400.5, -1, True, [400], None])
def test_values_that_are_no_counts(key: str, value: object, folder: Path):
    edit_json(folder / PREPROCESSOR, **{key: value})
    with pytest.raises(CheckpointError) as caught:
        read_sound(folder, 8)
    assert str(folder / PREPROCESSOR) in str(caught.value)
    assert key in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "", "{", "null"])
def test_json_that_is_none(text: str, folder: Path):
    (folder / PREPROCESSOR).write_text(text)
    with pytest.raises(CheckpointError, match=PREPROCESSOR):
        read_sound(folder, 8)
