"""Recording: the machine of a run, its speed before and after, and how long the run took."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.machine import LIBRARIES, describe, float32_floor
from benchmarks.results import Json, figure_json


@dataclass
class Recording:
    """What is stored of a run beside its sections; whole when the run has ended."""

    machine: Json
    minutes: float = 0.0


@contextmanager
def recording(libraries: Sequence[str] = LIBRARIES) -> Iterator[Recording]:
    """Inside, a run is made that rests on ``libraries``."""
    started = time.time()
    found = Recording(describe(libraries))
    found.machine["float32_at_start"] = figure_json(float32_floor())
    yield found
    found.machine["float32_at_end"] = figure_json(float32_floor())
    found.minutes = round((time.time() - started) / 60, 1)
