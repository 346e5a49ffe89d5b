"""The comparison of runtimes as a picture over the floor and as one table, from a stored file."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.claims import Claim
from benchmarks.results import Section
from benchmarks.runtimes import plot
from benchmarks.runtimes.summary import summary_markdown

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
MACHINE = {
    "cores": 2,
    "cpu": "a processor",
    "libraries": {"torch": "2"},
    "commit": None,
    "flags": ["avx2"],
    "memory_gib": 4,
    "system": "Linux",
    "load_average": 0.5,
    "dirty": False,
    "float32_at_start": {"median": 200},
    "float32_at_end": {"median": 190},
    "python": "3.11",
}


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


def test_summary_has_the_best_other_of_each_type() -> None:
    kinds = ("float32", "int8")
    samples = {
        **SECTION.samples,
        ("transformers", "float32"): [48.0, 48.0, 48.0],
        ("onnxruntime", "int8"): [10.0, 10.0, 10.0],
    }
    claims = [
        Claim(f"llm_compression / {text}, {kind}", ("llm_compression", kind), (other, kind))
        for text, other, kind in (
            ("openvino", "openvino", "float32"),
            ("best other (transformers)", "transformers", "float32"),
            ("floor", "floor", "float32"),
            ("best other (onnxruntime)", "onnxruntime", "int8"),
        )
    ]
    section = replace(SECTION, samples=samples, claims=claims, units=dict.fromkeys(kinds, "ms"))
    other = Section("cold", "Cold start", "A fake.", {"process": "s"}, {("a", "process"): [1.0]})
    stored = {"machine": MACHINE, "sections": [results.to_json(s) for s in (section, other)]}
    lines = summary_markdown(stored).splitlines()
    row = "| MiniLM 32x32: one batch | 0.250x transformers |  | 0.500x onnxruntime | 1.200x |"
    assert row in lines
    assert not any("Cold start" in line for line in lines)
    assert any("2 cores of a processor" in line for line in lines)
