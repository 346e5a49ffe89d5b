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
ADAPTERS = {"langchain", "lancedb", "llama-index", "mem0", "mteb"}  # tested each in its own room
WEIGHED = {"bench-stores", "bench-runtimes"}  # what the decisions compare; no part of any test


def bounds() -> set[tuple[str, str]]:
    """Name and lower bound of every requirement, those of ``lint`` and of other rooms left out."""
    extras = set(EXTRAS) - ADAPTERS - WEIGHED
    rows = PROJECT["dependencies"] + [row for name in extras for row in EXTRAS[name]]
    return {split(row) for row in rows if row not in EXTRAS["lint"]}


def split(row: str) -> tuple[str, str]:
    name, _, bound = row.partition(">=")
    return name, bound


def pins(file: str) -> set[tuple[str, str]]:
    """Name and version of every line of a constraints file."""
    return set(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / file).read_text(), re.M))


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
    for name, bound in bounds() | {split(row) for row in EXTRAS["lint"]}:
        versions = [numbers(version) for other, version in pinned if other == name]
        assert versions, name
        assert max(versions) >= numbers(bound), name


def test_lower_bounds_are_what_test_min_runs_on() -> None:
    lowest = {(name, numbers(bound)) for name, bound in bounds()}
    pinned = {(name, numbers(version)) for name, version in pins("constraints-min.txt")}
    torch = {"torch"}  # one build for every run
    assert {row for row in lowest if row[0] not in torch} == {
        row for row in pinned if row[0] not in torch
    }


def test_adapters_are_tested_with_a_release_in_their_range() -> None:
    documents = (ROOT / "docs/adapters.md").read_text()
    for extra in ADAPTERS:
        (row,) = EXTRAS[extra]
        name, bound = split(row)
        pinned = dict(pins(f"tests/adapters/{extra.replace('-', '_')}/requirements.txt"))
        assert numbers(pinned[name]) >= numbers(bound), extra
        assert f"{name} {pinned[name]}" in documents, extra


def test_torch_is_the_same_everywhere() -> None:
    (pinned,) = [row for row in pins("constraints.txt") if row[0] == "torch"]
    assert pinned in pins("constraints-min.txt")
