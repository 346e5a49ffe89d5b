"""What is only like Whisper, and a Whisper whose parts do not fit, is refused by its name."""

import shutil
from pathlib import Path

import pytest
import torch

from llm_compression import convert
from llm_compression.errors import CheckpointError, ConversionError, UnknownArchitectureError
from tests.clip_checkpoints import CLIPFactory
from tests.conversion.checkpoints import edit_config, edit_json, read_tensors, write_tensors
from tests.whisper_checkpoints import WhisperFactory

LAYER = "model.encoder.layers.1"


@pytest.fixture
def whisper(tiny_whisper: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Whisper."""
    return shutil.copytree(tiny_whisper, tmp_path / "whisper")


def refuse(
    folder: Path,
    target: Path,
    *words: str,
    kind: type[ConversionError] = CheckpointError,
    keep_decoder: bool = False,
) -> None:
    with pytest.raises(kind) as caught:
        convert(folder, target, keep_decoder=keep_decoder)
    for word in (str(folder), *words):
        assert word in str(caught.value)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["wav2vec2", "hubert", "speech_to_text", "moonshine", "clap", "Whisper", ""]
)
def test_other_kin(name: str, whisper: Path, target: Path):
    edit_config(whisper, model_type=name)
    refuse(
        whisper, target, f"model_type {name!r} is not supported", "whisper, xlm-roberta",
        kind=UnknownArchitectureError,
    )  # fmt: skip


@pytest.mark.parametrize("keep_decoder", [False, True])
def test_scaled_embeddings(keep_decoder: bool, whisper: Path, target: Path):
    edit_config(whisper, scale_embedding=True)
    refuse(
        whisper, target, "scale_embedding is not supported",
        kind=UnknownArchitectureError, keep_decoder=keep_decoder,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["tanh", "GELU", "", 3, ["gelu"]])
def test_activations(name: object, whisper: Path, target: Path):
    edit_config(whisper, activation_function=name)
    refuse(
        whisper, target, f"activation_function {name!r} is not supported", "'gelu'",
        kind=UnknownArchitectureError,
    )  # fmt: skip


COUNTS = ["d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim",
          "num_mel_bins", "max_source_positions"]  # fmt: skip
DECODER_COUNTS = ["decoder_layers", "decoder_attention_heads", "decoder_ffn_dim", "vocab_size",
                  "max_target_positions"]  # fmt: skip


@pytest.mark.parametrize("key", [*COUNTS, *DECODER_COUNTS])
@pytest.mark.parametrize("value", [2.5, 2.0, "2", -1, True, [2], None])
def test_counts_that_are_none(key: str, value: object, whisper: Path, target: Path):
    edit_config(whisper, **{key: value})
    said = f"no {key!r}" if value is None else f"{key} = {value!r}, expected a count"
    refuse(whisper, target, said, keep_decoder=key in DECODER_COUNTS)


@pytest.mark.parametrize("key", [*COUNTS, *DECODER_COUNTS])
def test_counts_of_nothing(key: str, whisper: Path, target: Path):
    edit_config(whisper, **{key: 0})
    if key == "num_mel_bins":
        edit_json(whisper / "preprocessor_config.json", feature_size=0)
    refuse(whisper, target, " is 0; it must be at least 1", keep_decoder=key in DECODER_COUNTS)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_heads_that_do_not_divide_the_width(part: str, whisper: Path, target: Path):
    edit_config(whisper, **{f"{part}_attention_heads": 3})
    refuse(whisper, target, "16 is not a multiple of", "num_heads 3",
           keep_decoder=part == "decoder")  # fmt: skip


@pytest.mark.parametrize("layers", [3000, 2**70])
def test_more_encoder_layers_than_tensors(layers: int, whisper: Path, target: Path):
    edit_config(whisper, encoder_layers=layers)
    refuse(whisper, target, f"{layers} layers, but only 89 tensors")


def test_more_decoder_layers_than_tensors(whisper: Path, target: Path):
    """A list of what is missing has an end."""
    edit_config(whisper, decoder_layers=3000)
    refuse(whisper, target, "3000 layers, but only 89 tensors", keep_decoder=True)


@pytest.mark.parametrize("positions", [99, 101, 50, 1500])
def test_positions_that_do_not_fit_the_preprocessor(positions: int, whisper: Path, target: Path):
    edit_config(whisper, max_source_positions=positions)
    refuse(whisper, target, "sound gives 200 frames", f"the {positions} positions of")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chunk_length": 30}, "sound gives 3000 frames"),
        ({"hop_length": 320}, "sound gives 100 frames"),
        ({"sampling_rate": 8000}, "sound gives 100 frames"),
        ({"hop_length": 161}, "hop_length 161 does not divide the 32000 samples"),
        ({"n_fft": 0}, "n_fft is 0; it must be at least 1"),
        ({"feature_size": 80}, "feature_size is 80, config.json says num_mel_bins = 8"),
    ],
)
def test_a_preprocessor_that_does_not_fit_the_tower(
    changes: dict[str, object], said: str, whisper: Path, target: Path
):
    edit_json(whisper / "preprocessor_config.json", **changes)
    refuse(whisper, target, said)


def test_frames_longer_than_a_window(whisper: Path, target: Path):
    """A window's ends are mirrored, and a window has no more to mirror than it is long."""
    edit_json(whisper / "preprocessor_config.json", n_fft=70_000)
    refuse(whisper, target, "n_fft")


@pytest.mark.parametrize(
    ("key", "value"),
    [("feature_extractor_type", "Wav2Vec2FeatureExtractor"), ("do_normalize", True),
     ("dither", 0.1)],
)  # fmt: skip
def test_another_front_end(key: str, value: object, whisper: Path, target: Path):
    edit_json(whisper / "preprocessor_config.json", **{key: value})
    refuse(
        whisper, target, "preprocessor_config.json", "only WhisperFeatureExtractor",
        kind=UnknownArchitectureError,
    )  # fmt: skip


@pytest.mark.parametrize("architecture", ["WhisperForConditionalGeneration", "WhisperModel"])
def test_a_decoder_that_is_not_there(architecture: str, make_whisper: WhisperFactory, target: Path):
    folder = make_whisper(architecture)
    tensors = read_tensors(folder)
    write_tensors(folder, {name: t for name, t in tensors.items() if "decoder." not in name})
    refuse(folder, target, "no decoder", "--keep-decoder", keep_decoder=True)


def test_a_classifier_has_no_decoder(make_whisper: WhisperFactory, target: Path):
    folder = make_whisper("WhisperForAudioClassification")
    refuse(folder, target, "no decoder", "--keep-decoder", keep_decoder=True)


def test_a_text_model_has_no_decoder(tiny_bert: Path, target: Path):
    refuse(
        tiny_bert, target, "bert", "no decoder", "--keep-decoder",
        kind=UnknownArchitectureError, keep_decoder=True,
    )  # fmt: skip


def test_a_model_of_images_has_no_decoder(make_clip: CLIPFactory, target: Path):
    refuse(
        make_clip(), target, "clip", "no decoder", "--keep-decoder",
        kind=UnknownArchitectureError, keep_decoder=True,
    )  # fmt: skip


def test_an_output_layer_of_its_own_is_not_lost(make_whisper: WhisperFactory, target: Path):
    """Untied, it is no second token table; without it the export would write other text."""
    folder = make_whisper(tie_word_embeddings=False)
    assert "proj_out.weight" in read_tensors(folder)
    edit_config(folder, tie_word_embeddings=True)  # release 5 looks at the tensors as well
    refuse(folder, target, "proj_out.weight", kind=ConversionError, keep_decoder=True)


def test_a_decoder_alone_is_no_tower(make_whisper: WhisperFactory, target: Path):
    folder = make_whisper("WhisperForCausalLM")
    refuse(folder, target, "in 37 tensors", "missing: audio.conv1.weight [16, 8, 3]")


def test_tensors_that_do_not_fit_are_all_named(whisper: Path, target: Path):
    tensors = read_tensors(whisper)
    del tensors["model.encoder.conv2.bias"], tensors[f"{LAYER}.self_attn.v_proj.bias"]
    tensors[f"{LAYER}.self_attn.k_proj.bias"] = torch.zeros(16)
    tensors["model.encoder.layers.2.fc1.bias"] = torch.zeros(32)
    tensors["encoder_proj.weight"] = torch.zeros(3)
    tensors["model.encoder.embed_positions.weight"] = torch.zeros(99, 16)
    tensors["model.encoder.conv1.weight"] = torch.zeros(16, 8, 1)
    write_tensors(whisper, tensors)
    refuse(
        whisper,
        target,
        "does not fit its config.json in 7 tensors",
        "missing: audio.conv2.bias [16]",
        "missing: audio.block.01.attn.v.bias [16]",
        f"not known to this architecture: {LAYER}.self_attn.k_proj.bias",
        "not known to this architecture: model.encoder.layers.2.fc1.bias",
        "not known to this architecture: encoder_proj.weight",
        "misshapen: model.encoder.embed_positions.weight is [99, 16], config.json asks for "
        "[100, 16]",
        "misshapen: model.encoder.conv1.weight is [16, 8, 1], config.json asks for [16, 8, 3]",
        "config.json and the weights belong together",
    )


def test_tensors_of_a_decoder_that_do_not_fit_are_all_named(whisper: Path, target: Path):
    tensors = read_tensors(whisper)
    del tensors["model.decoder.layers.0.encoder_attn.q_proj.weight"]
    tensors["model.decoder.layers.2.fc1.bias"] = torch.zeros(24)
    tensors["model.decoder.embed_tokens.weight"] = torch.zeros(41, 16)
    write_tensors(whisper, tensors)
    refuse(
        whisper,
        target,
        "does not fit its config.json in 3 tensors",
        "missing: audio_decoder.block.00.cross.q.weight [16, 16]",
        "not known to this architecture: model.decoder.layers.2.fc1.bias",
        "misshapen: model.decoder.embed_tokens.weight is [41, 16], config.json asks for [40, 16]",
        keep_decoder=True,
    )


def test_a_tensor_under_both_names(whisper: Path, target: Path):
    tensors = read_tensors(whisper)
    name = "encoder.layer_norm.bias"
    write_tensors(whisper, {**tensors, name: tensors[f"model.{name}"].clone()})
    refuse(whisper, target, "duplicate: ", f"model.{name}", "both become audio.final_norm.bias")
