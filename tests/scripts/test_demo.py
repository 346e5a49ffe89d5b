"""The demo finds what it should and prints figures of its own run."""

import re
from pathlib import Path

import pytest

from scripts import demo


@pytest.fixture
def folders(minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "CHECKPOINT", minilm)
    monkeypatch.setattr(demo, "TABLE", tmp_path / "demo.parquet")


def test_sizes_and_hits(folders: None, capsys: pytest.CaptureFixture[str]) -> None:
    demo.show_conversion()
    demo.show_searches()
    output = capsys.readouterr().out
    assert f"{demo.TABLE.stat().st_size:,} bytes" in output
    assert f"{(demo.CHECKPOINT / 'model.safetensors').stat().st_size:,} bytes" in output
    best = re.findall(r"^ +1 +0\.\d{3}  (.*)$", output, re.MULTILINE)
    assert [sentence.split()[0] for sentence in best] == ["To", "The", "Add"]


def test_table_of_runtimes(
    folders: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.show_conversion()
    runtimes = {name: demo.RUNTIMES[name] for name in ("llm-compression", "transformers")}
    monkeypatch.setattr(demo, "RUNTIMES", runtimes)
    monkeypatch.setattr(demo, "REPEATS", 1)
    monkeypatch.setattr(demo, "in_fresh_process", demo.measure)
    demo.show_runtimes()
    ours, theirs = re.findall(
        r"^  (\S+) \S+ +[\d.]+ s +[\d.]+ ms   (.*)$", capsys.readouterr().out, re.M
    )
    assert ours[0] == "llm-compression"
    assert ours[1] == "none, to the bit" or float(ours[1]) < 1e-6
    assert theirs == ("transformers", "-")


def test_missing_checkpoint_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "CHECKPOINT", tmp_path / "absent")
    assert demo.main([]) == 1
    assert capsys.readouterr().err.endswith("run `make minilm`\n")
