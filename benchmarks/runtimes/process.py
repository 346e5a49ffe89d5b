"""Worker: a runtime in a process of its own, which runs when it is told to."""

import json
import math
import os
import signal
import subprocess
import sys
from functools import cached_property
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.process import ProgramError

# Seconds that a turn takes at least, in runs at most: the first run of a turn finds caches that
# whoever ran before has filled, which is not what a short workload is to tell of.
_SHORT, _MOST = 0.1, 10


class Worker:
    """Calling it runs the workload and gives the seconds of the fastest run of the turn.

    It starts at once and has to be awaited by `ready`, so that several start side by side.
    Between its turns the process is stopped: threads of its pools would keep a core busy for a
    while, and whoever is next would have one less. A ``long`` workload is run once a turn.

    Raises:
        ProgramError: the process failed; the message is its own error output.
    """

    def __init__(
        self,
        runtime: str,
        kind: str,
        work: str,
        folder: Path,
        python: str = sys.executable,
        *,
        long: bool = False,
    ) -> None:
        self._errors = self.output(folder, runtime, kind, work).with_suffix(".errors.txt")
        self._long = long
        with open(self._errors, "w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [python, "-m", "benchmarks.runtimes.worker", runtime, kind, work, folder],
                cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip

    def ready(self) -> None:
        """Wait until it has warmed up."""
        self._read()
        self._process.send_signal(signal.SIGSTOP)

    def __call__(self) -> float:
        """One turn."""
        return min(self._ask(self._runs))

    @cached_property
    def _runs(self) -> int:
        """Of a turn."""
        return 1 if self._long else min(_MOST, math.ceil(_SHORT / self._ask(1)[0]))

    def close(self) -> None:
        """End the process, which has nothing left to put in order."""
        self._process.kill()
        self._process.communicate()

    @staticmethod
    def output(folder: Path, runtime: str, kind: str, work: str) -> Path:
        """Where a worker leaves its embeddings."""
        return folder / f"{runtime}-{kind}-{work.replace('/', '')}.npy"

    def _ask(self, runs: int) -> list[float]:
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(f"{runs}\n")
        self._process.stdin.flush()
        seconds = self._read()
        self._process.send_signal(signal.SIGSTOP)
        return seconds

    def _read(self) -> list[float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise ProgramError(self._errors.read_text(encoding="utf-8")[-2000:])
        found: list[float] = json.loads(line)
        return found
