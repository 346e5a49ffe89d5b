"""``convert`` and ``inspect`` of Whisper, with its decoder and without."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from llm_compression import convert
from llm_compression.weights.reader import WeightTable
from tests.cli.conftest import Cli, vectors
from tests.cli.sound_files import write_sounds
from tests.whisper_checkpoints import WhisperFactory

DECODER = "the decoder, which turns sound into text; embeddings do not pass through it"
HEAD = "a classification head; embeddings do not pass through it"


@pytest.fixture(scope="session")
def whole_table(tiny_whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_whisper` with its decoder."""
    target = tmp_path_factory.mktemp("whole") / "whole.parquet"
    return convert(tiny_whisper, target, keep_decoder=True).path


def stored(folder: Path) -> list[str]:
    """The names of a checkpoint's tensors."""
    with safe_open(folder / "model.safetensors", "np") as file:
        return sorted(file.keys())


# convert


def left_out(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("left out: ")]


def test_the_decoder_is_left_out(cli: Cli, tiny_whisper: Path, target: Path):
    outcome = cli("convert", tiny_whisper, target)
    assert (outcome.status, outcome.err) == (0, "")
    first, *more = [name for name in stored(tiny_whisper) if "decoder" in name]
    assert left_out(outcome.out) == [f"left out: {first} and {len(more)} more: {DECODER}"]
    kept = {name for name in stored(tiny_whisper) if name.startswith("model.encoder.")}
    assert {t.source for t in WeightTable(target).manifest.tensors} == kept
    assert f"\nverified: {len(kept)} tensors, " in outcome.out


def test_the_decoder_is_kept(cli: Cli, tiny_whisper: Path, tiny_whisper_table: Path, target: Path):
    outcome = cli("convert", tiny_whisper, target, "--keep-decoder")
    assert (outcome.status, outcome.err) == (0, "")
    assert left_out(outcome.out) == []
    assert {t.source for t in WeightTable(target).manifest.tensors} == set(stored(tiny_whisper))
    assert f"\nverified: {len(stored(tiny_whisper))} tensors, " in outcome.out
    assert WeightTable(target).fingerprint != WeightTable(tiny_whisper_table).fingerprint


def test_embeddings_do_not_need_it(
    cli: Cli, tiny_whisper_table: Path, whole_table: Path, tmp_path: Path
):
    folder = write_sounds(tmp_path / "sounds")
    found = [
        vectors(cli("embed", table, "--audio", folder, "--format", "jsonl").out)
        for table in (tiny_whisper_table, whole_table)
    ]
    np.testing.assert_array_equal(*found)


def test_a_decoder_comes_back(cli: Cli, tiny_whisper: Path, whole_table: Path, target: Path):
    exported = target.parent / "exported"
    assert cli("export", whole_table, exported).status == 0
    assert stored(exported) == stored(tiny_whisper)
    assert cli("convert", exported, target, "--keep-decoder").status == 0
    assert WeightTable(target).fingerprint == WeightTable(whole_table).fingerprint


def test_a_head_is_left_out(cli: Cli, make_whisper: WhisperFactory, target: Path):
    """The reason is told once for all that share it."""
    checkpoint = make_whisper("WhisperForAudioClassification", use_weighted_layer_sum=True)
    outcome = cli("convert", checkpoint, target)
    assert left_out(outcome.out) == [f"left out: classifier.bias and 4 more: {HEAD}"]


@pytest.mark.parametrize("architecture", ["WhisperForAudioClassification", "bert"])
def test_no_decoder_to_keep(
    architecture: str, cli: Cli, make_whisper: WhisperFactory, tiny_bert: Path, target: Path
):
    source = tiny_bert if architecture == "bert" else make_whisper(architecture)
    message = cli("convert", source, target, "--keep-decoder").error(1)
    assert message in {
        f"{source} holds no decoder; convert without keep_decoder (--keep-decoder)",
        f"{source}: a model of bert has no decoder to keep; convert without keep_decoder "
        "(--keep-decoder)",
    }
    assert list(target.parent.iterdir()) == []


def test_a_guess_is_noted(cli: Cli, make_whisper: WhisperFactory, target: Path):
    outcome = cli("convert", make_whisper(seconds=30, preprocessing=False), target)
    assert outcome.status == 0
    assert outcome.err == (
        "note: no preprocessor_config.json: sound is taken at 16 kHz in windows of 30 s, "
        "as Whisper does\n"
    )


# inspect


@pytest.mark.parametrize("decoder", [False, True])
def test_inspect(
    decoder: bool, cli: Cli, tiny_whisper: Path, tiny_whisper_table: Path, whole_table: Path
):
    table = whole_table if decoder else tiny_whisper_table
    outcome = cli("inspect", table)
    assert (outcome.status, outcome.err) == (0, "")
    pairs = dict(line.split(":", 1) for line in outcome.out.splitlines())
    shown = {name: value.strip() for name, value in pairs.items()}
    assert shown.pop("size").endswith(")")
    assert shown.pop("weights").startswith(f"{89 if decoder else 37} tensors, ")
    files = ["config.json", "preprocessor_config.json"]
    assert shown == {
        "fingerprint": WeightTable(table).fingerprint,
        "source": tiny_whisper.name,
        "architecture": "WhisperForConditionalGeneration (whisper)",
        "blocks": "2 x 16, 4 heads, MLP 32, gelu, pre-norm",
        "sound": "16000 Hz in windows of 2 s, 8 mel bins, 100 positions, 16 dimensions",
        "embedding": "mean over the positions that hear the sound",
        **({"decoder": "kept, not run: 2 x 16"} if decoder else {}),
        "files": ", ".join([*files, "generation_config.json"] if decoder else files),
    }


def test_inspect_tensors(cli: Cli, tiny_whisper_table: Path, whole_table: Path):
    lines = cli("inspect", tiny_whisper_table, "--tensors").out.splitlines()[-37:]
    assert lines[0].split() == [
        "audio.conv1.weight", "float32", "16x8x3", "model.encoder.conv1.weight",
    ]  # fmt: skip
    assert not any("decoder" in line for line in lines)
    lines = cli("inspect", whole_table, "--tensors").out.splitlines()[-52:]
    assert all(line.startswith("audio_decoder.") for line in lines)


@pytest.mark.parametrize("decoder", [False, True])
def test_inspect_json(decoder: bool, cli: Cli, tiny_whisper_table: Path, whole_table: Path):
    table = whole_table if decoder else tiny_whisper_table
    outcome = cli("inspect", table, "--json")
    content = json.loads(outcome.out)
    assert (outcome.status, outcome.err) == (0, "")
    assert content["fingerprint"] == WeightTable(table).fingerprint
    spec = content["spec"]
    assert (spec["family"], spec["text"], spec["embedding"]) == ("whisper", None, None)
    audio = spec["audio"]
    assert (audio["num_mel_bins"], audio["max_source_positions"]) == (8, 100)
    assert audio["block"]["norm_placement"] == "pre"
    assert spec["sound"] == {
        "sampling_rate": 16000, "n_fft": 400, "hop_length": 160, "chunk_length": 2,
    }  # fmt: skip
    assert (spec.get("audio_decoder") or {}).get("vocab_size") == (40 if decoder else None)
    dropped = content["provenance"]["dropped"]
    assert {row["reason"] for row in dropped} == (set() if decoder else {DECODER})
    assert len(content["tensors"]) + len(dropped) == 89


def test_export_says_what_is_not_there(
    cli: Cli, tiny_whisper_table: Path, whole_table: Path, tmp_path: Path
):
    without = cli("export", tiny_whisper_table, tmp_path / "without")
    assert without.err.startswith("note: the table was made without model.decoder.")
    assert without.err.endswith(f" and 51 more: {DECODER}\n")
    assert cli("export", whole_table, tmp_path / "whole").err == ""
