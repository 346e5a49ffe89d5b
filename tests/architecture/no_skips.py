"""Plugin: where all the real data that a test needs is there, it may not skip.

`make test` loads it with ``-p tests.architecture.no_skips``. A test needs data when it asks for
the fixture of that name, itself or through another fixture, or carries the marker.
"""

from collections.abc import Generator
from pathlib import Path

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure that names the data."""
    report = yield
    if report.skipped:
        needed = [path for name, path in data().items() if needs(item, name)]
        if needed and all(path.exists() for path in needed):
            there = " and ".join(map(str, needed))
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} skips although {there} is there"
    return report


def data() -> dict[str, Path]:
    """Where the data of each fixture lies."""
    from tests.conftest import ASSETS, MINILM  # late: pytest has to load conftest by itself

    return {"assets": ASSETS, "minilm": MINILM}


def needs(item: pytest.Item, name: str) -> bool:
    """Whether the test uses the data called ``name``."""
    return name in getattr(item, "fixturenames", ()) or item.get_closest_marker(name) is not None
