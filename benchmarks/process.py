"""A program or a function in a process of its own."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.machine import ROOT

R = TypeVar("R")
_KIB_PER_MIB = 1024


class ProgramError(Exception):
    """A benchmarked program failed, or reported nothing."""


@dataclass(frozen=True)
class Run:
    """One process from start to exit: its wall time and what it reported."""

    seconds: float
    report: dict[str, Any]

    @property
    def peak_mib(self) -> float:
        """The most memory the process held (VmHWM)."""
        return float(self.report["peak_kib"]) / _KIB_PER_MIB


def run_program(module: str, arguments: Sequence[str | Path]) -> Run:
    """Run ``python -m module arguments`` offline and wait for its report.

    Raises:
        ProgramError: it failed; the message is its own error output.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode or not done.stdout.strip():
        raise ProgramError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Run(seconds, report)


def alone(function: Callable[..., R], *arguments: object) -> R:
    """What a module's ``function`` gives in a process that nothing else has run in."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
