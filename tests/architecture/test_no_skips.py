"""A test that skips although its data is there fails; without the data it may skip."""

from pathlib import Path

import pytest

from tests.architecture import no_skips

pytest_plugins = ["pytester"]
TESTS = """
    import pytest

    @pytest.fixture
    def assets():
        pass

    @pytest.fixture
    def minilm():
        pass

    @pytest.fixture
    def photographs(assets):
        pytest.skip("no photographs")

    def test_in_the_test(assets):
        pytest.skip("not today")

    def test_in_a_fixture(photographs):
        pass

    @pytest.mark.assets
    def test_by_marker():
        pytest.skip("not today")

    @pytest.mark.skipif(True, reason="by condition")
    def test_by_condition(assets):
        pass

    def test_of_both(assets, minilm):
        pytest.skip("not today")

    def test_that_needs_nothing():
        pytest.skip("another reason")

    def test_that_passes(assets):
        pass
"""


@pytest.mark.parametrize(
    ("present", "outcomes"),
    [
        ({"assets", "minilm"}, {"failed": 5, "skipped": 1, "passed": 1}),
        ({"assets"}, {"failed": 4, "skipped": 2, "passed": 1}),
        (set(), {"failed": 0, "skipped": 6, "passed": 1}),
    ],
)
def test_skip_counts_as_failure_where_the_data_is(
    present: set[str],
    outcomes: dict[str, int],
    tmp_path: Path,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folders = {name: tmp_path / name for name in ("assets", "minilm")}
    for name in present:
        folders[name].mkdir()
    monkeypatch.setattr(no_skips, "data", lambda: folders)
    pytester.makeini("[pytest]\nmarkers = assets")
    pytester.makepyfile(TESTS)
    result = pytester.runpytest("-p", "tests.architecture.no_skips")
    counts = result.parseoutcomes()
    failed = counts.get("failed", 0) + counts.get("errors", 0)  # a fixture's failure is an error
    assert {"failed": failed, "skipped": counts["skipped"], "passed": counts["passed"]} == outcomes
    assert ("skips although" in result.stdout.str()) is bool(present)
