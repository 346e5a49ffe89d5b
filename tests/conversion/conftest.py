"""Fixtures: checkpoints that a test may change."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def bert(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT."""
    return shutil.copytree(tiny_bert, tmp_path / "bert")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where to convert to: in a folder of its own, so that litter shows."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "model.parquet"
