"""``convert``, ``inspect``, ``verify``, ``map`` and ``export``."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from llm_compression.files.atomic import atomic_write
from llm_compression.weights.reader import WeightTable
from tests.cli.conftest import Cli
from tests.conversion.checkpoints import read_tensors, save_as, write_tensors


@pytest.fixture
def bert(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT."""
    return shutil.copytree(tiny_bert, tmp_path / "bert")


@pytest.fixture
def damaged(tiny_table: Path, target: Path) -> Path:
    """A table with one bit flipped in its last tensor."""
    content = bytearray(tiny_table.read_bytes())
    stored = WeightTable(tiny_table).manifest.tensors[-1].stored
    content[(stored.start + stored.stop) // 2] ^= 1
    target.write_bytes(content)
    return target


def test_convert_says_what_it_did(cli: Cli, tiny_bert: Path, tiny_table: Path, target: Path):
    outcome = cli("convert", tiny_bert, target)
    assert (outcome.status, outcome.err) == (0, "")
    fingerprint = WeightTable(tiny_table).fingerprint
    lines = outcome.out.splitlines()
    assert lines[0] == f"fingerprint: {fingerprint}"
    assert lines[1].startswith("size: ")
    source = (tiny_bert / "model.safetensors").stat().st_size
    assert f"{target.stat().st_size / source:.3f} of the checkpoint's" in lines[1]
    assert lines[2].startswith("verified: 39 tensors, ")
    assert lines[2].endswith(f"reopened from {target} and compared with the source bit for bit")
    assert WeightTable(target).fingerprint == fingerprint


@pytest.mark.parametrize("order", range(4))
def test_by_position_or_by_option(cli: Cli, tiny_bert: Path, target: Path, order: int):
    given: list[list[object]] = [
        [tiny_bert, target],
        ["--model", tiny_bert, "--output", target],
        ["--output", target, "--dtype", "bfloat16", "--model", tiny_bert],
        [tiny_bert, "--dtype", "float16", target],
    ]
    assert cli("convert", *given[order]).status == 0
    dtype = ["float32", "float32", "bfloat16", "float16"][order]
    assert {entry.dtype for entry in WeightTable(target).manifest.tensors} == {dtype}


def test_a_position_and_an_option_together(cli: Cli, tiny_bert: Path, target: Path):
    """One by position is the checkpoint; the target may then come as an option."""
    assert cli("convert", tiny_bert, "--output", target).status == 0
    assert target.exists()


def test_into_a_folder(cli: Cli, tiny_bert: Path, target: Path):
    assert cli("convert", tiny_bert, target.parent).status == 0
    assert target.exists()


def test_what_is_left_out_is_told(cli: Cli, bert: Path, target: Path):
    save_as(bert, "BertForMaskedLM")
    outcome = cli("convert", bert, target)
    assert "left out: cls.predictions.bias and 4 more: a head of " in outcome.out


def test_a_guess_is_noted(cli: Cli, bert: Path, target: Path):
    (bert / "modules.json").unlink()
    outcome = cli("convert", bert, target)
    assert outcome.err == (
        "note: no modules.json: mean pooling without normalisation, "
        "as sentence-transformers takes it\n"
    )


@pytest.mark.filterwarnings("always")
def test_weights_that_are_not_finite_are_one_line(cli: Cli, bert: Path, target: Path):
    tensors = read_tensors(bert)
    tensors["pooler.dense.bias"][0] = float("nan")
    write_tensors(bert, tensors)
    outcome = cli("convert", bert, target)
    assert outcome.status == 0
    assert outcome.err == (
        "llm-compression: warning: tensor pooler.dense.bias holds 1 NaN or infinite values; "
        "they are kept\n"
    )


def test_no_checkpoint(cli: Cli, tmp_path: Path, target: Path):
    message = cli("convert", tmp_path / "nowhere", target).error(1)
    assert message.startswith(f"no checkpoint folder at {tmp_path / 'nowhere'}; give a folder")


def test_the_home_of_nobody(cli: Cli, target: Path):
    path = "~nobody-of-this-name/model"
    assert path in cli("convert", path, target).error(1)
    assert path in cli("embed", path, "a cat").error(1)


def test_no_checkpoint_on_the_hub(cli: Cli, target: Path):
    message = cli("convert", "someone/nothing", target).error(1)
    assert message.startswith("no folder someone/nothing here, and the hub gave no repository")


def test_an_unknown_architecture(cli: Cli, bert: Path, target: Path):
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps({**config, "model_type": "mpnet"}))
    message = cli("convert", bert, target).error(1)
    assert "model_type 'mpnet' is not supported; supported are bert, clip, " in message


def test_all_misfits_are_listed(cli: Cli, bert: Path, target: Path):
    tensors = read_tensors(bert)
    del tensors["pooler.dense.bias"]
    write_tensors(bert, {**tensors, "extra": torch.zeros(1)})
    outcome = cli("convert", bert, target)
    assert outcome.status == 1
    assert "\n  not known to this architecture: extra\n" in outcome.err
    assert "\n  missing: text.pooler.bias [32]\n" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_folder_that_is_not_there(cli: Cli, tiny_bert: Path, tmp_path: Path):
    message = cli("convert", tiny_bert, tmp_path / "nowhere" / "model.parquet").error(1)
    assert f"no folder {tmp_path / 'nowhere'} to write model.parquet into; create it" in message


@pytest.mark.parametrize("place", ["/proc/model.parquet", "/sys/model.parquet"])
def test_a_folder_that_cannot_be_written(cli: Cli, tiny_bert: Path, place: str):
    message = cli("convert", tiny_bert, place).error(1)
    assert message.startswith(f"cannot write {place}: ")
    assert message.endswith("choose another place")


def test_a_busy_target(cli: Cli, tiny_bert: Path, target: Path):
    with atomic_write(target) as draft:
        message = cli("convert", tiny_bert, target).error(1)
        draft.keep = False
    assert message == (
        f"{target} is being written by another process; wait for it or choose another path"
    )


def test_inspect(cli: Cli, tiny_table: Path, tiny_bert: Path):
    outcome = cli("inspect", tiny_table)
    assert (outcome.status, outcome.err) == (0, "")
    rows = dict(line.split(":", 1) for line in outcome.out.splitlines())
    shown = {name: value.strip() for name, value in rows.items()}
    assert shown["fingerprint"] == WeightTable(tiny_table).fingerprint
    assert shown["source"] == tiny_bert.name
    assert shown["architecture"] == "BertModel (bert)"
    assert shown["blocks"] == "2 x 32, 4 heads, MLP 64, gelu, post-norm"
    assert shown["vocabulary"] == "64 tokens"
    assert shown["embedding"] == "32 dimensions, mean pooling, unit length, cosine"
    assert shown["max_seq_length"] == "32 tokens"
    assert shown["prompts"] == "none"
    values = sum(tensor.numel() for tensor in read_tensors(tiny_bert).values())
    assert shown["weights"] == f"39 tensors, {values:,} values, float32"
    assert "tokenizer.json" in shown["files"]


def test_inspect_prompts(cli: Cli, prompted_table: Path):
    assert "passage='passage: ', query='query: '" in cli("inspect", prompted_table).out


def test_inspect_tensors(cli: Cli, tiny_table: Path):
    lines = cli("inspect", tiny_table, "--tensors").out.splitlines()[-39:]
    first, last = lines[0].split(), lines[-1].split()
    token = ["text.embeddings.token", "float32", "64x32", "embeddings.word_embeddings.weight"]
    assert first == token
    assert last == ["text.pooler.bias", "float32", "32", "pooler.dense.bias"]


def test_inspect_json(cli: Cli, tiny_table: Path):
    content = json.loads(cli("inspect", tiny_table, "--json").out)
    assert content["fingerprint"] == WeightTable(tiny_table).fingerprint
    assert len(content["tensors"]) == 39
    assert content["spec"]["text"]["block"]["activation"] == "gelu"


def test_verify(cli: Cli, tiny_table: Path):
    outcome = cli("verify", tiny_table)
    files = len(WeightTable(tiny_table).manifest.files)
    assert (outcome.status, outcome.out, outcome.err) == (
        0, f"intact: {tiny_table}, 39 tensors and {files} files, every byte\n", "",
    )  # fmt: skip


def test_verify_finds_damage(cli: Cli, damaged: Path):
    message = cli("verify", damaged).error(1)
    assert str(damaged) in message
    assert "text.pooler.bias" in message


def test_map_then_verify_both(cli: Cli, tiny_table: Path, empty_cache: Path):
    outcome = cli("map", tiny_table)
    assert (outcome.status, outcome.err) == (0, "")
    copy = next(empty_cache.rglob("*.arrow"))
    assert outcome.out == f"mapped copy: {copy}, {copy.stat().st_size / 1e6:.1f} MB\n"
    verified = cli("verify", tiny_table).out.splitlines()
    assert verified[1] == f"intact: {copy}, the mapped copy, every byte"


def test_map_beside(cli: Cli, tiny_table: Path, target: Path, empty_cache: Path):
    shutil.copy(tiny_table, target)
    assert cli("map", target, "--beside").status == 0
    assert target.with_name(target.name + ".arrow").exists()
    assert not list(empty_cache.rglob("*.arrow"))


def test_verify_finds_damage_in_the_mapped_copy(cli: Cli, tiny_table: Path, empty_cache: Path):
    cli("map", tiny_table)
    copy = next(empty_cache.rglob("*.arrow"))
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    outcome = cli("verify", tiny_table)
    assert outcome.status == 1
    assert outcome.err.startswith(f"llm-compression: error: {copy}: damage in ")


def test_export_and_convert_again(cli: Cli, tiny_table: Path, target: Path, tmp_path: Path):
    outcome = cli("export", tiny_table, tmp_path / "exported")
    assert (outcome.status, outcome.out) == (0, f"exported: {tmp_path / 'exported'}\n")
    assert cli("convert", tmp_path / "exported", target).status == 0
    assert WeightTable(target).fingerprint == WeightTable(tiny_table).fingerprint


def test_export_into_what_is_not_empty(cli: Cli, tiny_table: Path, tiny_bert: Path):
    message = cli("export", tiny_table, tiny_bert).error(1)
    assert message == f"{tiny_bert} exists and is not an empty folder; choose another path"


def test_inspect_names_the_sources_dtype(cli: Cli, tiny_bert: Path, target: Path):
    cli("convert", tiny_bert, target, "--dtype", "float16")
    assert "values, float16 (source: float32)" in cli("inspect", target).out
