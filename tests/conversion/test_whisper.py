"""Whisper checkpoints of every architecture convert to the bit, with or without the decoder."""

import shutil
from pathlib import Path

import pytest
import torch

from llm_compression import WeightLoader, convert
from llm_compression.weights.reader import WeightTable
from tests.conversion.checkpoints import (
    assert_same_bits,
    bits,
    read_tensors,
    save_as,
    write_pickle,
    write_pickle_shards,
    write_tensors,
)
from tests.whisper_checkpoints import ARCHITECTURES, WhisperFactory

FULL = "WhisperForConditionalGeneration"
ENCODER = {
    "audio.conv1.weight": "encoder.conv1.weight",
    "audio.conv2.bias": "encoder.conv2.bias",
    "audio.embeddings.position": "encoder.embed_positions.weight",
    "audio.block.00.attn.q.bias": "encoder.layers.0.self_attn.q_proj.bias",
    "audio.block.00.attn.k.weight": "encoder.layers.0.self_attn.k_proj.weight",
    "audio.block.01.attn.v.weight": "encoder.layers.1.self_attn.v_proj.weight",
    "audio.block.01.attn.o.bias": "encoder.layers.1.self_attn.out_proj.bias",
    "audio.block.01.attn_norm.weight": "encoder.layers.1.self_attn_layer_norm.weight",
    "audio.block.01.mlp.up.weight": "encoder.layers.1.fc1.weight",
    "audio.block.01.mlp.down.bias": "encoder.layers.1.fc2.bias",
    "audio.block.01.mlp_norm.bias": "encoder.layers.1.final_layer_norm.bias",
    "audio.final_norm.weight": "encoder.layer_norm.weight",
}
DECODER = {
    "audio_decoder.embeddings.token": "decoder.embed_tokens.weight",
    "audio_decoder.embeddings.position": "decoder.embed_positions.weight",
    "audio_decoder.block.01.attn.k.weight": "decoder.layers.1.self_attn.k_proj.weight",
    "audio_decoder.block.01.cross.q.bias": "decoder.layers.1.encoder_attn.q_proj.bias",
    "audio_decoder.block.01.cross.k.weight": "decoder.layers.1.encoder_attn.k_proj.weight",
    "audio_decoder.block.01.cross.o.weight": "decoder.layers.1.encoder_attn.out_proj.weight",
    "audio_decoder.block.01.cross_norm.bias": "decoder.layers.1.encoder_attn_layer_norm.bias",
    "audio_decoder.block.01.mlp_norm.weight": "decoder.layers.1.final_layer_norm.weight",
    "audio_decoder.final_norm.bias": "decoder.layer_norm.bias",
}


@pytest.fixture
def whisper(tiny_whisper: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Whisper."""
    return shutil.copytree(tiny_whisper, tmp_path / "whisper")


def sources(target: Path) -> dict[str, str]:
    """Canonical name -> the checkpoint's."""
    return {entry.name: entry.source for entry in WeightTable(target).manifest.tensors}


def named(table: dict[str, str], prefix: str) -> set[tuple[str, str]]:
    return {(ours, prefix + theirs) for ours, theirs in table.items()}


def is_encoder(name: str) -> bool:
    return name.removeprefix("model.").startswith("encoder.")


def encoder_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: t for name, t in read_tensors(folder).items() if is_encoder(name)}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_architecture(architecture: str, make_whisper: WhisperFactory, target: Path):
    folder = make_whisper(architecture)
    report = convert(folder, target)
    assert_same_bits(target, read_tensors(folder))
    assert named(ENCODER, ARCHITECTURES[architecture]) <= sources(target).items()
    assert {source for source in read_tensors(folder) if is_encoder(source)} == {
        *sources(target).values()
    }
    assert WeightTable(target).manifest.provenance.architecture == architecture
    assert (report.tensors, report.notes) == (7 + 2 * 15, ())


@pytest.mark.parametrize("architecture", [FULL, "WhisperModel"])
def test_a_decoder_is_left_out_with_a_reason(
    architecture: str, make_whisper: WhisperFactory, target: Path
):
    folder = make_whisper(architecture)
    left = dict(line.split(": ", 1) for line in convert(folder, target).dropped)
    assert left.keys() == {name for name in read_tensors(folder) if not is_encoder(name)}
    assert set(left.values()) == {
        "the decoder, which turns sound into text; embeddings do not pass through it"
    }


@pytest.mark.parametrize("weighted", [False, True])
def test_a_classification_head_is_left_out_with_a_reason(
    weighted: bool, make_whisper: WhisperFactory, target: Path
):
    folder = make_whisper("WhisperForAudioClassification", use_weighted_layer_sum=weighted)
    left = dict(line.split(": ", 1) for line in convert(folder, target).dropped)
    head = {f"{name}.{part}" for name in ("projector", "classifier") for part in ("weight", "bias")}
    assert left.keys() == head | ({"layer_weights"} if weighted else set())
    assert all("classification head" in reason for reason in left.values())


@pytest.mark.parametrize("architecture", [FULL, "WhisperModel"])
def test_a_decoder_is_kept_on_request(
    architecture: str, make_whisper: WhisperFactory, target: Path
):
    folder = make_whisper(architecture)
    report = convert(folder, target, keep_decoder=True)
    assert_same_bits(target, read_tensors(folder))
    prefix = ARCHITECTURES[architecture]
    assert named(ENCODER, prefix) | named(DECODER, prefix) <= sources(target).items()
    assert (report.tensors, report.dropped) == (7 + 2 * 15 + 2 + 2 * 24 + 2, ())


def test_a_prefix_makes_no_other_model(whisper: Path, target: Path):
    before = convert(whisper, target).fingerprint
    kept = convert(whisper, target, keep_decoder=True).fingerprint
    plain = {name.removeprefix("model."): t for name, t in read_tensors(whisper).items()}
    write_tensors(whisper, plain)
    assert convert(whisper, target).fingerprint == before
    assert convert(whisper, target, keep_decoder=True).fingerprint == kept
    assert before != kept


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_an_encoder_alone(prefix: str, whisper: Path, target: Path):
    before = convert(whisper, target).fingerprint
    alone = {prefix + name.removeprefix("model."): t for name, t in encoder_of(whisper).items()}
    write_tensors(whisper, alone)
    report = convert(whisper, target)
    assert_same_bits(target, alone)
    assert (report.fingerprint, report.dropped) == (before, ())


def test_an_encoder_that_was_saved_by_itself(whisper: Path, target: Path):
    """As the encoder's own class saves it: nothing stands before its names."""
    from transformers import WhisperModel

    before = convert(whisper, target).fingerprint
    model = WhisperModel.from_pretrained(whisper)
    model.encoder.save_pretrained(whisper)
    assert "conv1.weight" in read_tensors(whisper)
    assert convert(whisper, target).fingerprint == before
    assert_same_bits(target, read_tensors(whisper))


@pytest.mark.parametrize("keep", [False, True])
def test_an_output_layer_that_is_the_token_table(keep: bool, whisper: Path, target: Path):
    """Pickles of old releases hold the table twice."""
    tensors = read_tensors(whisper)
    tensors["proj_out.weight"] = tensors["model.decoder.embed_tokens.weight"].clone()
    write_pickle(whisper, tensors)
    report = convert(whisper, target, keep_decoder=keep)
    assert_same_bits(target, tensors)
    reasons = dict(line.split(": ", 1) for line in report.dropped)
    assert ("a second time" in reasons["proj_out.weight"]) is keep
    assert len(report.dropped) == (1 if keep else 53)


def test_shards(whisper: Path, target: Path):
    tensors = save_as(whisper, FULL, max_shard_size="20KB")
    assert len(list(whisper.glob("model-*.safetensors"))) > 2
    convert(whisper, target, keep_decoder=True)
    assert_same_bits(target, tensors)


@pytest.mark.parametrize("shards", [1, 3])
def test_pickles(shards: int, whisper: Path, target: Path):
    tensors = read_tensors(whisper)
    if shards == 1:
        write_pickle(whisper, tensors)
    else:
        write_pickle_shards(whisper, tensors, shards)
    convert(whisper, target, keep_decoder=True)
    assert_same_bits(target, tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_checkpoint_in_half_precision(
    dtype: torch.dtype, make_whisper: WhisperFactory, target: Path
):
    folder = make_whisper(dtype=dtype)
    convert(folder, target, keep_decoder=True)
    assert_same_bits(target, read_tensors(folder))
    assert {entry.dtype for entry in WeightTable(target).manifest.tensors} == {str(dtype)[6:]}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("source", [torch.float32, torch.float16])
def test_a_cast(source: torch.dtype, dtype: str, make_whisper: WhisperFactory, target: Path):
    folder = make_whisper(dtype=source)
    convert(folder, target, dtype=dtype)
    loader, tensors = WeightLoader(target), read_tensors(folder)
    for entry in loader.table.manifest.tensors:
        wanted = tensors[entry.source].to(getattr(torch, dtype))
        assert bits(loader.get_tensor(entry.name)) == bits(wanted)
        assert (entry.dtype, entry.source_dtype) == (dtype, str(source)[6:])


@pytest.mark.parametrize("mels", [80, 128])
def test_mel_bins_of_the_releases(mels: int, make_whisper: WhisperFactory, target: Path):
    folder = make_whisper(num_mel_bins=mels)
    convert(folder, target)
    assert_same_bits(target, read_tensors(folder))
    assert WeightTable(target).manifest.spec.audio.num_mel_bins == mels


def test_as_many_layers_as_the_largest_release_and_more(make_whisper: WhisperFactory, target: Path):
    folder = make_whisper(encoder_layers=101, decoder_layers=32)
    convert(folder, target, keep_decoder=True)
    assert_same_bits(target, read_tensors(folder))
    spec = WeightTable(target).manifest.spec
    assert (spec.audio.num_layers, spec.audio_decoder.num_layers) == (101, 32)
    for block, layer in {"09": 9, "10": 10, "99": 99, "100": 100}.items():
        ours, theirs = f"audio.block.{block}.mlp.up.bias", f"encoder.layers.{layer}.fc1.bias"
        assert sources(target)[ours] == f"model.{theirs}"
