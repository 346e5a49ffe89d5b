"""`python -m benchmarks.runtimes.worker RUNTIME TYPE WORK FOLDER`: one runtime on one workload.

A process of its own, because thread pools of several runtimes disturb each other. It warms up,
then for each line on its input, a number, it runs so often and prints the seconds of each run;
what the first of them gives is stored.
"""

import ctypes
import json
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.runtimes.process import Worker
from benchmarks.runtimes.works import WORKS, Form, Run, inputs

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_WARMING = 500  # captions, of which there are minutes
WARMUPS = {Form.BATCH: 3, Form.OPENING: 1, Form.CAPTIONS: 1, Form.TRAFFIC: 1}


def main(runtime: str, kind: str, name: str, folder: Path) -> None:
    """Serve until the input ends; the first line says that all is ready.

    ``runtime`` is a module of this package, with the backend that it is to use behind a dash.
    """
    # between turns it is stopped, and so would outlive a parent that was killed
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    work = WORKS[name]
    module, _, backend = runtime.partition("-")
    options = {"backend": backend} if backend else {}
    opened = import_module(f"benchmarks.runtimes.{module}").open_model
    run, given = opened(work, kind, folder, **options), inputs(work, folder)
    for _ in range(WARMUPS[work.form]):
        run(given[:_WARMING] if work.form is Form.CAPTIONS else given)
    print(json.dumps([]), file=answers, flush=True)  # ready
    output = Worker.output(folder, runtime, kind, name)
    for line in sys.stdin:
        times = [_timed(run, given, output) for _ in range(int(line))]
        print(json.dumps(times), file=answers, flush=True)


def _timed(run: Run, given: object, output: Path) -> float:
    start = time.perf_counter()
    found = run(given)
    seconds = time.perf_counter() - start
    if not output.exists():
        np.save(output, found)
    return seconds


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
