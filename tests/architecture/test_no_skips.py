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

    def test_that_needs_nothing():
        pytest.skip("another reason")

    def test_that_passes(assets):
        pass
"""


@pytest.mark.parametrize(
    ("present", "outcomes"),
    [
        (True, {"failed": 4, "skipped": 1, "passed": 1}),
        (False, {"failed": 0, "skipped": 5, "passed": 1}),
    ],
)
def test_skip_counts_as_failure_where_the_data_is(
    present: bool,
    outcomes: dict[str, int],
    tmp_path: Path,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path if present else tmp_path / "absent"
    monkeypatch.setattr(no_skips, "data", lambda: {"assets": folder})
    pytester.makeini("[pytest]\nmarkers = assets")
    pytester.makepyfile(TESTS)
    result = pytester.runpytest("-p", "tests.architecture.no_skips")
    counts = result.parseoutcomes()
    errors = counts.pop("errors", 0)  # what a failed fixture's failure is called
    assert {name: counts.get(name, 0) for name in outcomes} | {
        "failed": counts.get("failed", 0) + errors
    } == outcomes
    assert ("skips although" in result.stdout.str()) is present
