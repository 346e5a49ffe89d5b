"""``validate`` of an audio tower, and the scripts for Whisper."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_compression import convert
from llm_compression.weights.reader import WeightTable
from tests.cli.conftest import Cli, Outcome
from tests.cli.sound_files import names, write_broken, write_sounds
from tests.conftest import ROOT
from tests.whisper_checkpoints import WhisperFactory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sounds."""
    return write_sounds(tmp_path / "sounds")


def test_validate(cli: Cli, tiny_whisper: Path, tiny_whisper_table: Path, tmp_path: Path):
    report = tmp_path / "report.json"
    outcome = cli("validate", tiny_whisper_table, "--reference", tiny_whisper, "--json", report)
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    taps = [
        "frames", "embeddings", "block.00.attn", "block.00.mlp", "block.01.attn", "block.01.mlp",
        "final_norm", "pooled", "embedding",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:-1]] == taps
    assert lines[-1] == "passed: 9 taps, 10 sounds, float32, rel <= 4e-05, cosine >= 0.999999"
    content = json.loads(report.read_text())
    assert (content["passed"], content["sounds"], content["texts"]) == (True, 10, 0)
    assert content["fingerprint"] == WeightTable(tiny_whisper_table).fingerprint
    assert [tap["name"] for tap in content["taps"]] == taps


@pytest.mark.parametrize(
    ("options", "sounds"), [([], 4), (["--samples", "3"], 3), (["--samples", "9"], 4)]
)
def test_sounds_to_validate_with(  # noqa: PLR0917  fixtures
    options: list[str],
    sounds: int,
    cli: Cli,
    tiny_whisper: Path,
    tiny_whisper_table: Path,
    folder: Path,
):
    """A positions' tap has a row for each of the first window of each."""
    command = ["validate", tiny_whisper_table, "--reference", tiny_whisper]
    outcome = cli(*command, "--audio", folder, *options)
    assert outcome.status == 0, outcome.out
    assert f"passed: 9 taps, {sounds} sounds, " in outcome.out
    rows = {line.split()[0]: line.split()[1] for line in outcome.out.splitlines()[1:-1]}
    assert (rows["frames"], rows["block.01.mlp"]) == (str(8 * sounds), str(100 * sounds))
    assert rows["embedding"] == str(sounds)
    files = names(folder)[:sounds]
    assert cli(*command, "--audio", *files).out == outcome.out


@pytest.mark.parametrize("option", ["--audio-model", "--model", "--arrow-model"])
def test_the_model_as_an_option(
    option: str, cli: Cli, tiny_whisper: Path, tiny_whisper_table: Path
):
    reference = ["--hf-model", tiny_whisper, "--samples", "1", "--tower", "audio"]
    outcome = cli("validate", option, tiny_whisper_table, *reference)
    assert outcome.status == 0
    assert "passed: 9 taps, 1 sound, " in outcome.out
    again = cli("validate", tiny_whisper_table, option, tiny_whisper_table, *reference)
    assert "give MODEL once, by position or as --model" in again.usage_error()


@pytest.mark.parametrize("bound", [["--absolute", "0"], ["--cosine", "1.1"]])
def test_a_broken_bound_is_a_failure(
    bound: list[str], cli: Cli, tiny_whisper: Path, tiny_whisper_table: Path
):
    outcome = cli("validate", tiny_whisper_table, "--reference", tiny_whisper, *bound)
    assert outcome.status == 1
    assert outcome.out.splitlines()[-1].startswith("FAILED: 9 taps, 10 sounds, ")


def test_another_models_checkpoint_is_a_failure(
    cli: Cli, tiny_whisper_table: Path, make_whisper: WhisperFactory
):
    other = make_whisper(seed=9)
    outcome = cli("validate", tiny_whisper_table, "--reference", other, "--samples", "1")
    assert outcome.status == 1
    assert outcome.out.count("  FAILED\n") == 8  # the frames agree


def test_a_reference_of_another_family(
    cli: Cli, tiny_whisper: Path, tiny_whisper_table: Path, tiny_bert: Path, tiny_table: Path
):
    for table, reference in [(tiny_whisper_table, tiny_bert), (tiny_table, tiny_whisper)]:
        assert str(reference) in cli("validate", table, "--reference", reference).error(1)


def test_a_tower_that_is_not_there(
    cli: Cli, tiny_whisper: Path, tiny_whisper_table: Path, tiny_bert: Path, tiny_table: Path
):
    for table, reference, tower in [
        (tiny_whisper_table, tiny_whisper, "text"),
        (tiny_whisper_table, tiny_whisper, "vision"),
        (tiny_table, tiny_bert, "audio"),
    ]:
        outcome = cli("validate", table, "--reference", reference, "--tower", tower)
        assert outcome.error(1) == f"{table} has no {tower} tower"


@pytest.mark.parametrize("what", ["missing", "broken", "samples", "report"])
def test_sounds_that_are_none(
    what: str, cli: Cli, tiny_whisper: Path, tiny_whisper_table: Path, folder: Path
):
    broken, buzz = write_broken(folder), folder / "buzz.WAV"
    given, words = {
        "missing": (["--audio", "nowhere"], "no sound file or folder at nowhere"),
        "broken": (["--audio", buzz, broken], f"{broken} is damaged: "),
        "samples": (["--audio", buzz, "--samples", "0"], "--samples is 0; it must be at least 1"),
        "report": (["--audio", folder / "more", buzz, "--json", buzz], f"{buzz} is read by this"),
    }[what]
    outcome = cli("validate", tiny_whisper_table, "--reference", tiny_whisper, *given)
    assert outcome.error(2).startswith(words)


# the scripts

Script = Callable[..., Outcome]


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Script:
    """Runs a script with arguments."""

    def run(name: str, *arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
        return Outcome(int(stop.value.code or 0), *capsys.readouterr())

    return run


def test_the_script_that_converts(script: Script, tiny_whisper: Path, target: Path):
    name, whole = "convert_whisper_to_parquet.py", target.with_name("whole.parquet")
    outcome = script(name, "--model", tiny_whisper, "--output", target, "--keep-decoder")
    assert (outcome.status, outcome.err) == (0, "")
    report = convert(tiny_whisper, whole, keep_decoder=True)
    assert WeightTable(target).fingerprint == report.fingerprint
    missing = target.parent / "nowhere"
    assert script(name, missing, target).error(1).startswith(f"no checkpoint folder at {missing}")


def test_the_script_that_validates(
    script: Script, tiny_whisper: Path, tiny_whisper_table: Path, folder: Path
):
    name, given = "validate_audio_precision.py", ["--hf-model", tiny_whisper, "--audio", folder]
    outcome = script(name, "--audio-model", tiny_whisper_table, *given)
    assert (outcome.status, outcome.err) == (0, "")
    assert "\npassed: 9 taps, 4 sounds, " in outcome.out
    assert script(name, tiny_whisper_table, *given, "--cosine", "1.1").status == 1


def test_the_script_validates_no_other_tower(script: Script, tiny_bert: Path, tiny_table: Path):
    outcome = script("validate_audio_precision.py", tiny_table, "--reference", tiny_bert)
    assert outcome.error(1) == f"{tiny_table} has no audio tower"
