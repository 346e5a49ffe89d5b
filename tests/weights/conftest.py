"""Fixtures: a weight table of every dtype."""

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
