"""The real MiniLM against transformers and sentence-transformers."""

from pathlib import Path

import numpy as np
import pytest

from llm_compression import ArrowEngine
from llm_compression.validation.validate import validate

pytestmark = [pytest.mark.minilm, pytest.mark.usefixtures("either_core")]


def test_every_tap(minilm: Path, minilm_table: Path) -> None:
    report = validate(minilm_table, minilm)
    assert report.passed, report.to_table()
    assert report.tolerance.absolute == 2e-5
    assert report.tolerance.cosine == 0.999999
    assert len(report.taps) == 1 + 6 * 2 + 2


def test_bfloat16_computation(minilm: Path, minilm_table: Path) -> None:
    report = validate(minilm_table, minilm, compute_dtype="bfloat16")
    assert report.passed, report.to_table()
    assert report.taps[-1].cosine_min >= 0.9995


def test_captions_equal_sentence_transformers(
    minilm: Path, minilm_table: Path, assets: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    captions = (assets / "coco" / "all_captions.txt").read_text().splitlines()[:400]
    wanted = SentenceTransformer(str(minilm), device="cpu", local_files_only=True).encode(captions)
    np.testing.assert_allclose(ArrowEngine(minilm_table).encode(captions), wanted, atol=1e-6)
