"""Cores: how many of the machine's this process may use, by its affinity and its container."""

import functools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

_PROCESS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores that this process may use, at least one; a container's quota of their time counts."""
    return int(min(_affinity(), _quota()))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache  # every search asks, and each answer is a dozen reads of files
def _quota() -> float:
    """The whole cores that the time allowed to this process's control groups makes."""
    return min((max(1, math.ceil(share)) for share in _shares()), default=math.inf)


def _shares() -> Iterator[float]:
    """What each of this process's control groups, and each that it lies in, allows in cores."""
    try:
        lines = _PROCESS.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if not controllers:
            yield from _up(_MOUNT, place, _share)
        elif "cpu" in controllers.split(","):
            yield from _up(_MOUNT / controllers, place, _share_of_version_1)


def _up(mount: Path, place: str, share: Callable[[Path], float]) -> Iterator[float]:
    """The shares of the group at ``place`` and of all above it that this process can see."""
    group = Path(place.lstrip("/"))
    for folder in (mount / group, *(mount / above for above in group.parents)):
        try:
            found = share(folder)
        except (OSError, ValueError):  # not mounted here, or not limited at the top
            continue
        if found > 0:
            yield found


def _share(group: Path) -> float:
    # https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max: quota, or max, and period
    quota, period = (group / "cpu.max").read_text().split()
    return int(quota) / int(period)


def _share_of_version_1(group: Path) -> float:
    # https://docs.kernel.org/scheduler/sched-bwc.html; a quota of -1 is none
    quota, period = ((group / f"cpu.cfs_{part}_us").read_text() for part in ("quota", "period"))
    return int(quota) / int(period)
