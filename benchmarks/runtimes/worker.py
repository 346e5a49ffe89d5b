"""`python -m benchmarks.runtimes.worker RUNTIME TYPE WORK FOLDER`: one runtime on one workload.

A process of its own, because thread pools of several runtimes disturb each other. It warms up,
then for each line on its input, a number, it runs so often and prints the seconds of each run.
"""

import json
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.runtimes.process import Worker
from benchmarks.runtimes.works import WORKS, inputs

WARMUPS = 3


def main(runtime: str, kind: str, name: str, folder: Path) -> None:
    """Serve until the input ends; the first line says that all is ready."""
    work = WORKS[name]
    module = import_module(f"benchmarks.runtimes.{runtime}")
    run = module.open_model(work, kind, folder)
    given = inputs(work, folder)
    for _ in range(WARMUPS):
        found = run(given)
    np.save(Worker.output(folder, runtime, kind, name), found)
    print(json.dumps([]), flush=True)  # ready
    for line in sys.stdin:
        print(json.dumps([_timed(run, given) for _ in range(int(line))]), flush=True)


def _timed(run: object, given: np.ndarray) -> float:
    start = time.perf_counter()
    run(given)  # type: ignore[operator]
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
