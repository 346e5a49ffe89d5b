"""The comparison of runtimes as a picture: bars over the floor, from a stored file."""

from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.results import Section
from benchmarks.runtimes import plot

SECTION = Section(
    name="MiniLM 32x32",
    title="MiniLM 32x32: one batch",
    note="A fake.",
    units={"float32": "ms", "int8": "ms"},
    samples={
        ("llm_compression", "float32"): [11.0, 12.0, 13.0],
        ("floor", "float32"): [10.0, 10.0, 10.0],
        ("openvino", "float32"): [90.0, 90.0, 90.0],
        ("llm_compression", "int8"): [5.0, 5.0, 5.0],
    },
)
MACHINE = {"cores": 2, "cpu": "a processor", "libraries": {"torch": "2"}, "commit": None}


def test_bars_are_over_the_floor_of_their_type() -> None:
    (group,) = plot.groups(results.to_json(SECTION))
    assert group.label == "float32\nfloor 10 ms"  # there is none in int8
    ours, other = group.bars
    assert (ours.runtime, ours.low, ours.value, ours.high) == ("llm_compression", 1.15, 1.2, 1.25)
    assert (other.runtime, other.value) == ("openvino", 9)


def test_picture_stands_beside_the_stored_file(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `bench`")
    path = tmp_path / "runtimes.json"
    without = Section("Opening", "Opening", "A fake.", {"float32": "ms"}, {("a", "float32"): [1.0]})
    sections = [results.to_json(section) for section in (SECTION, without, SECTION, SECTION)]
    results.write(path, MACHINE, {}, sections)
    plot.main(["--results", str(path)])
    assert (tmp_path / "runtimes.png").read_bytes().startswith(b"\x89PNG")
