"""Fixtures: checkpoints that a test may change."""

import shutil
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
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


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Processes forked from one that imported the package and computed nothing.

    They inherit no thread, no socket and no environment of a test: hand over what they need.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.conversion.work"])
    return context
