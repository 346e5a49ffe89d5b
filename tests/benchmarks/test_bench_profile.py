"""What is shown of profile and retrieval is stored, and every operator and answer is counted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import readme
from benchmarks.machine import ROOT
from benchmarks.runtimes import ours, profile, retrieval


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_operators_are_told_apart(kind: str, either_core: str, tiny_table: Path) -> None:
    ids = np.tile(np.arange(3, 19), (20, 1)).tolist()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run = ours.texts(tiny_table, kind)
        run(ids)
        parts = profile.operators(run, ids)
    finally:
        torch.set_num_threads(before)
    assert list(parts) == ["linear maps", "attention", "norms", "other operators"]
    assert all(parts.values())


def test_what_is_near_a_caption_is_counted() -> None:
    angles = np.radians([0, 10, 21, 90, 100, 110, 200, 230, 260, 290, 320, 45])
    exact = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    groups = np.array([0, 0, 1, 1, *[-1] * 8])
    counted = retrieval.of_texts("int8", exact, exact, groups)
    found = {name: values[0] for (name, _), values in counted.items()}
    # the nearest to 0 and 21 is 10, that to 10 is 0, that to 90 is 100
    assert found["captions: the nearest is of the same photograph"] == 0.5
    assert found["captions: of its others, among the ten nearest"] == 1
    assert found["captions: ten nearest as in float32"] == 1
    assert found["captions: least cosine to float32"] == pytest.approx(1)


@pytest.mark.parametrize("block", [readme.PROFILE, readme.RETRIEVAL])
def test_document_shows_the_stored_run(block: str) -> None:
    page = ROOT / "docs" / "performance.md"
    assert readme.main(["--check", "--block", block, "--readme", str(page)]) == 0
