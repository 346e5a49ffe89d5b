"""Float16 against transformers, on the CPU: the operators that run on a GPU, on tiny models."""

from pathlib import Path

import pytest

from llm_compression import WeightLoader
from llm_compression.inference import kernels
from llm_compression.multimodal import pretrained
from llm_compression.validation.tolerance import tolerance_of
from llm_compression.validation.validate import validate


@pytest.fixture(autouse=True)
def plain_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float16 on the CPU, where users are refused it, and nothing packed."""
    monkeypatch.setattr(pretrained, "check_compute_dtype", lambda *_: None)
    monkeypatch.setattr(kernels, "can_pack", lambda _dtype: False)


@pytest.mark.parametrize("family", ["bert", "clip", "whisper"])
def test_it_keeps_its_row(family: str, request: pytest.FixtureRequest) -> None:
    table: Path = request.getfixturevalue(
        "tiny_table" if family == "bert" else f"tiny_{family}_table"
    )
    report = validate(table, request.getfixturevalue(f"tiny_{family}"), compute_dtype="float16")
    assert report.passed, report.to_table()
    assert report.tolerance == tolerance_of(WeightLoader(table).spec.family, "float16")
    errors = {tap.name: tap.relative for tap in report.taps if not tap.name.endswith("frames")}
    assert max(errors.values()) > 1e-4, "float16 must differ from float32"
