"""Fixtures: a weight table of every dtype, and clean processes that have everything imported."""

from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.weights.weight_tables import Content, every_dtype


@pytest.fixture(scope="session")
def content() -> Content:
    """Seeded contents of every dtype."""
    return every_dtype()


@pytest.fixture(scope="session")
def every_dtype_table(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`content` as a weight table; tests do not write to it."""
    path = tmp_path_factory.mktemp("every-dtype") / "every.parquet"
    content.write(path)
    return path


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Processes forked from one that imported the package and computed nothing.

    They inherit no thread, no mapping and no environment of a test: hand over what they need.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.weights.work"])
    return context
