"""Version, changelog, dependencies and their pins agree."""

import re
import sys
from pathlib import Path

import llm_compression

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest there

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = PROJECT["dependencies"] + [row for extra in EXTRAS.values() for row in extra]


def pins(file: str) -> dict[str, set[str]]:
    """The versions that a constraints file pins, by package."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / file).read_text(), re.M):
        versions.setdefault(name, set()).add(version)
    return versions


def lowest() -> dict[str, str]:
    """The lower bound of every requirement that is not a lint tool."""
    rows = [row for row in REQUIREMENTS if row not in EXTRAS["lint"]]
    return dict(row.split(">=") for row in rows)


def numbers(version: str) -> tuple[int, ...]:
    parts = [int(part) for part in version.split(".")]
    while parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def test_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == llm_compression.__version__


def test_every_requirement_is_pinned_in_its_range() -> None:
    pinned = pins("constraints.txt")
    for name, bound in (row.split(">=") for row in REQUIREMENTS):
        assert min(numbers(version) for version in pinned[name]) >= numbers(bound), name


def test_lowest_versions_are_what_test_min_runs_on() -> None:
    pinned = pins("constraints-min.txt")
    for name, bound in lowest().items():
        if name != "torch":
            assert [numbers(version) for version in pinned[name]] == [numbers(bound)], name


def test_one_package_has_one_lower_bound() -> None:
    assert len(set(REQUIREMENTS)) == len({row.split(">=")[0] for row in REQUIREMENTS})


def test_torch_is_the_same_everywhere() -> None:
    assert pins("constraints-min.txt")["torch"] == pins("constraints.txt")["torch"]
