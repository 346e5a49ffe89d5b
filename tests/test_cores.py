"""How many cores a process in a container has, by files as the kernel writes them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_compression import cores as module
from llm_compression.cores import cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine of 16 cores, with control groups of our own."""
    module._quota.cache_clear()
    monkeypatch.setattr(module, "_affinity", lambda: 16)
    monkeypatch.setattr(module, "_PROCESS", tmp_path / "process")
    monkeypatch.setattr(module, "_MOUNT", tmp_path / "groups")
    yield tmp_path
    module._quota.cache_clear()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_limits_the_affinity_counts(machine: Path) -> None:
    assert cores() == 16


def test_a_group_without_a_limit_limits_nothing(machine: Path) -> None:
    write(machine / "process", "0::/user\n")
    write(machine / "groups/user/cpu.max", "max 100000\n")
    assert cores() == 16


def test_this_process_has_no_more_than_its_affinity() -> None:
    assert 1 <= cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "wanted"),
    [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("9900000 100000", 16)],
)
def test_a_quota_counts_in_whole_cores(quota: str, wanted: int, machine: Path) -> None:
    write(machine / "process", "0::/\n")
    write(machine / "groups/cpu.max", f"{quota}\n")
    assert cores() == wanted


def test_the_least_of_all_groups_above_counts(machine: Path) -> None:
    write(machine / "process", "0::/pod/box\n")
    write(machine / "groups/pod/box/cpu.max", "800000 100000\n")
    write(machine / "groups/pod/cpu.max", "300000 100000\n")
    assert cores() == 3


def test_a_group_that_is_not_mounted_here_is_left_out(machine: Path) -> None:
    write(machine / "process", "0::/../elsewhere\n")
    write(machine / "groups/cpu.max", "400000 100000\n")
    assert cores() == 4


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "wanted"), [("-1", 16), ("250000", 3)])
def test_version_1(controllers: str, quota: str, wanted: int, machine: Path) -> None:
    write(machine / "process", f"4:memory:/box\n1:{controllers}:/box\n0::/\n")
    write(machine / f"groups/{controllers}/box/cpu.cfs_quota_us", f"{quota}\n")
    write(machine / f"groups/{controllers}/box/cpu.cfs_period_us", "100000\n")
    assert cores() == wanted


@pytest.mark.parametrize("content", ["", "lots 100000", "100000"])
def test_a_file_that_makes_no_sense_limits_nothing(content: str, machine: Path) -> None:
    write(machine / "process", "0::/\n")
    write(machine / "groups/cpu.max", content)
    assert cores() == 16
