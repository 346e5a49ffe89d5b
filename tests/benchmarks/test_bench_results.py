"""Results survive storing, nothing of a claim is hidden, and the README shows the stored file."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import machine, plot, readme, results, run, tables
from benchmarks.case import WrongResultError, check_embeddings
from benchmarks.claims import Claim
from benchmarks.results import Json, Section

BEGIN, END = readme.markers(readme.TABLES)
SECTION = Section(
    name="load",
    title="Load",
    note="A fake.",
    units={"1 thread": "ms", "all cores": "ms"},
    samples={
        ("ours", "1 thread"): [10.0, 11.0, 12.0],
        ("ours", "all cores"): [5.0, 5.0, 5.0],
        ("theirs", "1 thread"): [10.0, 10.0, 10.0],
    },
    claims=[
        Claim("close", ("ours", "1 thread"), ("theirs", "1 thread"), 1.12),
        Claim("missed", ("ours", "1 thread"), ("theirs", "1 thread"), 0.5),
        Claim("stated", ("ours", "all cores"), ("ours", "1 thread")),
    ],
    checks=["all equal"],
)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """One stored run of fakes on this machine."""
    floor = results.figure_json(machine.float32_floor(runs=2))
    about = machine.describe() | {"float32_at_start": floor, "float32_at_end": floor}
    path = tmp_path / "results" / "fake.json"
    kind = {"model": "fake", "quick": False, "only": None, "minutes": 1.0}
    results.write(path, about, kind, [results.to_json(SECTION)])
    return path


@pytest.fixture(autouse=True)
def small_floor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A floor of a moment, and a project that is this test's own folder."""
    monkeypatch.setattr(machine, "_MATRIX", 64)
    monkeypatch.setattr(readme, "ROOT", tmp_path)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A README with an empty block."""
    path = tmp_path / "README.md"
    path.write_text(f"# Title\n\n{BEGIN}\n{END}\n\nThe end.\n")
    return path


def test_stored_run_is_readable_json_with_sorted_keys(stored: Path) -> None:
    text = stored.read_text()
    content = json.loads(text)
    assert text == json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert content == results.read(stored)
    for key in ("cpu", "cores", "flags", "memory_gib", "python", "libraries", "commit", "dirty"):
        assert key in content["machine"]
    assert content["machine"]["float32_at_start"]["median"] > 0


def test_section_keeps_order_verdicts_and_noise(stored: Path) -> None:
    (section,) = results.read(stored)["sections"]
    assert section["columns"] == ["1 thread", "all cores"]
    assert [row["name"] for row in section["rows"]] == ["ours", "theirs"]
    figures = section["rows"][0]["figures"]
    assert figures["1 thread"]["median"] == 11
    assert [figures[column]["noisy"] for column in section["columns"]] == [True, False]
    assert [claim["met"] for claim in section["claims"]] == [True, False, None]
    assert [claim["noisy"] for claim in section["claims"]] == [True, False, False]


def test_table_shows_missed_targets_and_noise(stored: Path) -> None:
    lines = tables.sections_markdown(results.read(stored)).splitlines()
    assert "| ours | 11.0 ms (10.5 to 11.5) ~ | 5.00 ms |" in lines
    assert "| theirs | 10.0 ms |  |" in lines
    assert "| close | 1.100x (1.050 to 1.150) | ≤ 1.12x | met ~ |" in lines
    assert "| missed | 1.100x (1.050 to 1.150) | ≤ 0.5x | **not met** |" in lines
    assert any("all equal" in line for line in lines)


def test_readme_is_written_once_and_then_agrees(stored: Path, page: Path) -> None:
    arguments = ["--readme", str(page), "--results", str(stored)]
    assert readme.main([*arguments, "--check"]) == 1
    assert readme.main(arguments) == 0
    written = page.read_text()
    assert written.startswith("# Title\n")
    assert written.endswith("The end.\n")
    assert "| ours | 11.0 ms" in written
    assert readme.main([*arguments, "--check"]) == 0
    assert readme.main(arguments) == 0
    assert page.read_text() == written


def test_check_fails_on_a_changed_figure_and_changes_nothing(stored: Path, page: Path) -> None:
    arguments = ["--readme", str(page), "--results", str(stored)]
    readme.main(arguments)
    page.write_text(page.read_text().replace("11.0 ms", "9.0 ms"))
    changed = page.read_text()
    assert readme.main([*arguments, "--check"]) == 1
    assert page.read_text() == changed


@pytest.mark.parametrize(
    "text",
    ["", BEGIN, END + BEGIN, BEGIN * 2 + END],
    ids=["none", "no end", "wrong order", "twice"],
)
def test_wrong_markers_are_refused(
    text: str, stored: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page.write_text(text)
    assert readme.main(["--readme", str(page), "--results", str(stored)]) == 1
    assert page.read_text() == text
    assert BEGIN in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"machine": 1}', b"\xff\xfe"], ids=repr)
@pytest.mark.parametrize("command", [readme.main, plot.main])
def test_what_is_no_stored_run_is_refused(
    command: Callable[[list[str]], int],
    content: bytes | None,
    page: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = tmp_path / "none.json"
    if content is not None:
        results.write_bytes(content)
    options = [] if command is plot.main else ["--readme", str(page)]
    before = page.read_text()
    assert command(["--results", str(results), *options]) == 1
    assert str(results) in capsys.readouterr().err
    assert page.read_text() == before
    assert not results.with_suffix(".png").exists()


def test_wrong_results_stop_a_run() -> None:
    a = np.zeros(3, np.float32)
    assert "agree within 5e-06" in check_embeddings([a, a + np.float32(5e-6)], "they")
    assert "identical" in check_embeddings([a, a], "they")
    with pytest.raises(WrongResultError, match="they differ by"):
        check_embeddings([a, a, a + np.float32(2e-5)], "they")
    with pytest.raises(WrongResultError, match="nan"):
        check_embeddings([a, a, a * np.float32("nan")], "they")


def test_part_of_a_run_never_replaces_the_standard_results() -> None:
    outputs = {
        run.output(run.options(arguments))
        for arguments in ([], ["--quick"], ["--only", "load"], ["--model", "other"])
    }
    assert len(outputs) == 4
    assert results.STANDARD in outputs


def test_stored_standard_run_is_whole() -> None:
    content = results.read(results.STANDARD)
    assert content["run"]["quick"] is False
    assert content["run"]["only"] is None
    names = {section["name"] for section in content["sections"]}
    assert {panel.section for panel in plot.PANELS} <= names
    assert set(run.BENCHMARKS) <= names


@pytest.mark.parametrize("stored", [results.STANDARD, results.FOLDER / "memory.json"])
def test_plot_draws_a_stored_run(tmp_path: Path, stored: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `bench`")
    target = tmp_path / "figure.png"
    content: Json = results.read(stored)
    plot.draw(content, target)
    assert target.read_bytes().startswith(b"\x89PNG")
