"""The benchmarks themselves run, on a tiny model; what they time is not asserted."""

from pathlib import Path

import pytest

from benchmarks import load, machine, results, run
from benchmarks.case import Case, WrongResultError
from benchmarks.process import ProgramError, run_program
from llm_compression import convert


@pytest.fixture(autouse=True)
def small_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A floor of a moment."""
    monkeypatch.setattr(machine, "_MATRIX", 64)


@pytest.mark.parametrize(("name", "sections"), [("size", ["size"]), ("load", ["load", "mapped"])])
def test_quick_form_of_one_benchmark(
    name: str, sections: list[str], tiny_bert: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.json"
    run.main(["--quick", "--only", name, "--model", str(tiny_bert), "--output", str(output)])
    stored = results.read(output)
    assert [section["name"] for section in stored["sections"]] == sections
    assert stored["run"]["only"] == name
    assert all(section["claims"] for section in stored["sections"])


def test_first_embedding_comes_from_a_process_of_its_own(tiny_table: Path) -> None:
    done = run_program("benchmarks.programs", ["first", "decoded", tiny_table, "a cat"])
    assert len(done.report["embedding"]) == 32
    assert done.seconds > done.report["open"] + done.report["first"]
    assert done.peak_mib > 50


def test_failing_program_is_an_error_with_its_own_message() -> None:
    with pytest.raises(ProgramError, match="No module named 'no_such_module'"):
        run_program("benchmarks.programs", ["import", "no_such_module"])


def test_load_refuses_a_table_with_other_values(
    tiny_bert: Path, make_checkpoint: object, tmp_path: Path
) -> None:
    other = make_checkpoint(seed=1)  # type: ignore[operator]
    table = convert(other, tmp_path / "other.parquet").path
    with pytest.raises(WrongResultError, match="differs from"):
        load.measure(Case(tiny_bert, table, tmp_path, quick=True))


def test_a_missing_library_is_named_with_what_installs_it() -> None:
    with pytest.raises(SystemExit, match="no-such-library is not installed; `make bench`"):
        machine.describe(["numpy", "no-such-library"])
