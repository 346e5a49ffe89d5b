"""Validation can fail: every way in which a model may differ is seen."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llm_compression import convert
from llm_compression.errors import CheckpointNotFoundError, ParityError
from llm_compression.multimodal.text.encoder import TextEncoder
from llm_compression.spec.model import Family
from llm_compression.validation.compare import compare_tap
from llm_compression.validation.samples import SAMPLE_TEXTS
from llm_compression.validation.tolerance import Tolerance, tolerance_of
from llm_compression.validation.validate import validate
from tests.conftest import CheckpointFactory

TEXTS = ["the cat sits", "a dog runs in the park"]
STRICT = tolerance_of(Family.BERT, "float32")


def test_report_says_what_was_compared(tiny_bert: Path, tiny_table: Path) -> None:
    report = validate(tiny_table, tiny_bert, texts=TEXTS)
    assert report.passed
    content = json.loads(report.to_json())
    assert content["passed"] is True
    assert content["texts"] == 2
    assert content["tokens"] == report.tokens == 5 + 8
    assert {tap["name"] for tap in content["taps"]} >= {"embeddings", "block.01.mlp", "embedding"}
    assert "passed: 7 taps, 2 texts" in report.to_table()


def test_other_weights_fail(make_checkpoint: CheckpointFactory, tiny_table: Path) -> None:
    report = validate(tiny_table, make_checkpoint(seed=9), texts=TEXTS)
    assert not report.passed
    assert report.to_table().count("FAILED") == 8


@pytest.mark.parametrize("change", [{"layer_norm_eps": 1e-2}, {"hidden_act": "relu"}])
def test_another_spec_fails(
    change: dict[str, object], make_checkpoint: CheckpointFactory, tiny_bert: Path, tmp_path: Path
) -> None:
    table = convert(make_checkpoint(**change), tmp_path / "m.parquet").path
    assert not validate(table, tiny_bert, texts=TEXTS).passed


def test_other_tokens_fail(
    tiny_bert: Path, tiny_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = TextEncoder.token_ids
    monkeypatch.setattr(TextEncoder, "token_ids", lambda self, x: right(self, x)[::-1])
    report = validate(tiny_table, tiny_bert, texts=TEXTS)
    assert not report.passed
    assert "TOKEN IDS DIFFER" in report.to_table()


def test_one_wrong_element_fails() -> None:
    reference = np.ones((3, 4), np.float32)
    wrong = reference.copy()
    wrong[2, 1] += 3e-5
    assert compare_tap("t", reference, reference, STRICT).passed
    assert not compare_tap("t", wrong, reference, STRICT).passed


def test_nan_fails_on_either_side() -> None:
    good = np.ones((2, 3), np.float32)
    bad = good.copy()
    bad[0, 0] = np.nan
    for tolerance in (STRICT, replace(STRICT, absolute=None)):
        assert not compare_tap("t", bad, good, tolerance).passed
        assert not compare_tap("t", good, bad, tolerance).passed


def test_noise_of_the_reference_widens_a_relative_bound_alone() -> None:
    reference = np.ones((3, 4), np.float32)
    wrong = reference.copy()
    wrong[2, 1] += 6e-5
    bounds = tolerance_of(Family.WHISPER, "float32")
    for noise, passes in ((None, False), (1e-5, False), (2e-5, True)):
        assert compare_tap("t", wrong, reference, bounds, noise).passed == passes
    assert not compare_tap("t", wrong, reference, STRICT, noise=1.0).passed
    assert not compare_tap("t", wrong * np.nan, reference, bounds, noise=1.0).passed


def test_embeddings_keep_a_bound_of_their_own_where_states_lose_their_direction() -> None:
    bounds = tolerance_of(Family.WHISPER, "int8")
    vector, turned = np.array([[1.0, 0.0]]), np.array([[0.9, 0.3]])
    assert compare_tap("block.05.mlp", turned, vector, bounds.of("block.05.mlp")).passed
    for tap in ("pooled", "embedding"):
        assert not compare_tap(tap, turned, vector, bounds.of(tap)).passed
        assert compare_tap(tap, vector, vector, bounds.of(tap)).passed
    assert STRICT.of("embedding") == STRICT


def test_a_turned_vector_fails_by_cosine_alone() -> None:
    reference = np.array([[1e-6, 0]], np.float32)
    turned = np.array([[0, 1e-6]], np.float32)
    assert not compare_tap("t", turned, reference, STRICT).passed


def test_shapes_must_agree() -> None:
    with pytest.raises(ParityError, match="tap t is"):
        compare_tap("t", np.ones((2, 3)), np.ones((3, 2)), STRICT)


def test_reference_must_exist(tiny_table: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError):
        validate(tiny_table, tmp_path / "absent", texts=TEXTS)
    with pytest.raises(ParityError, match="at least one text"):
        validate(tiny_table, tmp_path, texts=[])


def test_a_deeper_model_is_another_architecture(
    make_checkpoint: CheckpointFactory, tiny_table: Path
) -> None:
    with pytest.raises(ParityError, match=r"no module encoder\.layer\.1"):
        validate(tiny_table, make_checkpoint(num_hidden_layers=1), texts=TEXTS)


def test_tolerance_prints_its_bounds() -> None:
    assert str(Tolerance(1e-5, None, 0.99)) == "abs <= 1e-05, cosine >= 0.99"
    assert len(SAMPLE_TEXTS) >= 12
