"""A conversion is done only when the reopened table equals the source, to the bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_compression import convert
from llm_compression.errors import ConversionError
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.writer import WeightWriter
from tests.conversion.checkpoints import read_tensors

VICTIM = "text.block.01.attn.k.weight"


def spoil(monkeypatch: pytest.MonkeyPatch, method: str, argument: int, change: Any) -> None:
    """Let the writer store something else than it was given, with sums that fit."""
    real = getattr(WeightWriter, method)

    def other(self: WeightWriter, name: str, *given: Any, **options: Any) -> None:
        values = list(given)
        if name in (VICTIM, "tokenizer.json"):
            values[argument] = change(values[argument])
        real(self, name, *values, **options)

    monkeypatch.setattr(WeightWriter, method, other)


def last_bit(raw: np.ndarray) -> np.ndarray:
    changed = raw.copy()
    changed[-1] ^= 1
    return changed


def test_a_tensor_that_was_stored_otherwise(
    bert: Path, target: Path, monkeypatch: pytest.MonkeyPatch
):
    spoil(monkeypatch, "add_tensor", 0, last_bit)
    with pytest.raises(ConversionError, match=r"layer\.1\.attention\.self\.key\.weight reads back"):
        convert(bert, target)
    assert list(target.parent.iterdir()) == []


def test_a_shape_that_was_stored_otherwise(
    bert: Path, target: Path, monkeypatch: pytest.MonkeyPatch
):
    spoil(monkeypatch, "add_tensor", 2, lambda shape: (shape[0] * 2, shape[1] // 2))
    with pytest.raises(ConversionError, match="reads back differently"):
        convert(bert, target)
    assert list(target.parent.iterdir()) == []


def test_a_file_that_was_stored_otherwise(
    bert: Path, target: Path, monkeypatch: pytest.MonkeyPatch
):
    spoil(monkeypatch, "add_file", 0, lambda content: content + b" ")
    with pytest.raises(ConversionError, match=r"tokenizer\.json reads back differently"):
        convert(bert, target)
    assert list(target.parent.iterdir()) == []


def test_the_old_table_stays_when_a_conversion_fails(
    bert: Path, target: Path, monkeypatch: pytest.MonkeyPatch
):
    convert(bert, target)
    before = target.read_bytes()
    spoil(monkeypatch, "add_tensor", 0, last_bit)
    with pytest.raises(ConversionError):
        convert(bert, target, dtype="bfloat16")
    assert target.read_bytes() == before
    assert list(target.parent.iterdir()) == [target]


def test_the_report(bert: Path, target: Path):
    report = convert(bert, target)
    source = read_tensors(bert)
    assert report.path == target
    assert report.fingerprint == WeightTable(target).fingerprint
    assert report.tensors == len(source)
    assert report.parameters == sum(tensor.numel() for tensor in source.values())
    assert report.source_bytes == (bert / "model.safetensors").stat().st_size
    assert report.stored_bytes == target.stat().st_size
    assert (report.dropped, report.notes) == ((), ())


def test_progress_goes_through_both_steps(bert: Path, target: Path):
    seen: list[tuple[str, int, int]] = []
    convert(bert, target, progress=lambda *step: seen.append(step))
    count = len(read_tensors(bert))
    assert seen == [
        (step, done, count) for step in ("converting", "verifying") for done in range(count + 1)
    ]


def test_an_error_in_the_callback_leaves_nothing(bert: Path, target: Path):
    def stop(step: str, done: int, total: int) -> None:
        if (step, done) == ("verifying", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(bert, target, progress=stop)
    assert list(target.parent.iterdir()) == []
