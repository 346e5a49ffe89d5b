"""The profile puts every operator of a run into one part, and what it shows is stored."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import readme
from benchmarks.machine import ROOT
from benchmarks.runtimes import ours, profile


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_operators_are_told_apart(kind: str, tiny_table: Path) -> None:
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


def test_document_shows_the_stored_profile() -> None:
    options = ["--check", "--block", readme.PROFILE, "--results", str(profile.STANDARD)]
    assert readme.main([*options, "--readme", str(ROOT / "docs" / "performance.md")]) == 0
