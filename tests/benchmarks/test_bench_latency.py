"""The latency of a user's own model: its table, its JSON, and what it refuses."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import latency, machine
from benchmarks.latency_towers import towers
from llm_compression import WeightLoader
from llm_compression.inference import kernels
from tests.whisper_checkpoints import WhisperFactory

FEW = ["--batch-sizes", "1", "3", "--rounds", "2", "--tokens", "6"]


@pytest.fixture(autouse=True)
def small_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A floor of a moment, and one thread: on a busy machine two wait for each other."""
    monkeypatch.setattr(machine, "_MATRIX", 64)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def measured(model: Path, *options: object) -> int:
    return latency.main([str(model), *FEW, *map(str, options)])


@pytest.mark.parametrize(
    ("table", "checkpoint", "titles"),
    [
        ("tiny_table", "tiny_bert", ["texts of 6 tokens"]),
        ("tiny_clip_table", "tiny_clip", ["texts of 6 tokens", "pictures"]),
        ("tiny_whisper_table", "tiny_whisper", ["sounds of 2 s, from mel frames"]),
    ],
    ids=["texts", "both towers", "sounds"],
)
def test_every_tower_in_every_type_beside_transformers(  # noqa: PLR0917  fixtures
    table: str,
    checkpoint: str,
    titles: list[str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, reference = (request.getfixturevalue(name) for name in (table, checkpoint))
    out = tmp_path / "out.json"
    assert measured(model, "--reference", reference, "--json", out) == 0
    shown = capsys.readouterr()
    stored = json.loads(out.read_text())
    assert [section["name"] for section in stored["sections"]] == titles
    for section in stored["sections"]:
        rows = {row["name"]: row["figures"] for row in section["rows"]}
        names = [*latency.kinds(), "transformers, float32"]
        assert set(rows) == {f"{count}, {name}" for count in (1, 3) for name in names}
        ours = rows["3, float32"]
        assert set(ours) == set(section["columns"])
        assert ours["latency"]["runs"] == 2
        assert ours["throughput"]["largest"] == pytest.approx(
            3e3 / ours["latency"]["smallest"], rel=1e-4
        )
        assert set(rows["1, transformers, float32"]) == {"latency", "throughput"}
        assert len(section["checks"]) == 2
        assert f"### Latency: {section['name']}" in shown.out
    assert f"{titles[0]}, 3 at a time: measured" in shown.err.splitlines()


def test_other_weights_are_another_result(
    tiny_table: Path, make_checkpoint: object, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_checkpoint(seed=1)  # type: ignore[operator]
    assert measured(tiny_table, "--reference", other, "--compute-dtype", "int8") == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: embeddings of 1 texts of 6 tokens are not those of transformers" in shown.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rounds", "0"], "--rounds is 0; it must be at least 1"),
        (["--batch-sizes", "2", "0"], "--batch-sizes is 0; it must be at least 1"),
        (["--tokens", "41"], "--tokens is 41; the model takes 1 to 40"),
        (["--reference", "/no/such/folder"], "/no/such/folder"),
    ],
    ids=["rounds", "batches", "tokens", "reference"],
)
def test_bad_input_is_one_line(
    options: list[str], said: str, tiny_table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measured(tiny_table, *options) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[-1].startswith("benchmark_latency: error: ")
    assert said in shown.err


def test_absent_file_and_a_table_that_is_read_are_refused(
    tiny_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measured(tmp_path / "absent.parquet") == 2
    assert "absent.parquet" in capsys.readouterr().err
    before = tiny_table.read_bytes()
    assert measured(tiny_table, "--json", tiny_table) == 2
    assert tiny_table.read_bytes() == before


def test_a_folder_for_results_and_a_reference_of_another_family_are_refused(
    tiny_table: Path, tiny_whisper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measured(tiny_table, "--json", tmp_path) == 2
    assert "is a folder; name a file" in capsys.readouterr().err
    assert measured(tiny_table, "--reference", tiny_whisper) == 2
    assert "which none of bert came from" in capsys.readouterr().err


def test_type_that_nobody_or_not_this_processor_has(
    tiny_table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        measured(tiny_table, "--compute-dtype", "float64")
    monkeypatch.setattr(kernels, "can_int8", lambda: False)
    assert measured(tiny_table, "--compute-dtype", "int8") == 2
    assert "this processor has no products of int8, only float32" in capsys.readouterr().err


def test_inputs_are_the_same_each_time_and_end_as_texts_do(tiny_clip_table: Path) -> None:
    spec = WeightLoader(tiny_clip_table).spec
    text, picture = towers(spec, 5)
    ids = text.inputs(4)
    assert ids == text.inputs(4)
    assert {row[-1] for row in ids} == {spec.tokenizer.eos_token_id}
    assert all(spec.tokenizer.eos_token_id not in row[:-1] for row in ids)
    assert np.array_equal(picture.inputs(2), picture.inputs(2))
    assert picture.inputs(2).shape == (2, 3, 32, 32)


def test_a_window_of_sound_is_what_the_model_hears(long_whisper_table: WhisperFactory) -> None:
    (tower,) = towers(WeightLoader(long_whisper_table).spec, 5)
    assert tower.name == "sounds of 30 s, from mel frames"
    assert tower.inputs(2).shape[2] == 3000
