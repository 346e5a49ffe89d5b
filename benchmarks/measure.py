"""Fair timing: contestants take turns, and their samples become medians with quartiles."""

import gc
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """A measured quantity: median, quartiles and extremes of ``runs`` samples."""

    unit: str
    median: float
    low: float
    high: float
    smallest: float
    largest: float
    runs: int

    @property
    def spread(self) -> float:
        """The distance of the quartiles relative to the median; 0 for what is exact."""
        return (self.high - self.low) / self.median if self.median else 0.0


def summarise(samples: Sequence[float], unit: str) -> Figure:
    """The figure of some samples; a single one has no spread."""
    low, median, high = (
        statistics.quantiles(samples, n=4, method="inclusive")
        if len(samples) > 1
        else [samples[0]] * 3
    )
    return Figure(unit, median, low, high, min(samples), max(samples), len(samples))


def timed(action: Callable[[], object], *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that ``action`` takes, without the time to free what it returned."""
    gc.collect()  # so that no contestant pays for the garbage of the one before
    start = clock()
    result = action()
    seconds = clock() - start
    del result
    return seconds


def interleave(
    contestants: Mapping[K, Callable[[], T]], rounds: int, *, warmup: int = 1, seed: int = 0
) -> dict[K, list[T]]:
    """Samples of each contestant, one a round, so that the i-th of all are of one moment.

    The machine drifts from minute to minute, so contestants take turns; and each leaves caches
    and free memory in another state, so the order is shuffled anew each round. The first
    ``warmup`` rounds are not kept.
    """
    order = list(contestants)
    shuffle = random.Random(seed).shuffle
    samples: dict[K, list[T]] = {key: [] for key in contestants}
    with _collector_idle():
        for turn in range(warmup + rounds):
            shuffle(order)
            for key in order:
                sample = contestants[key]()
                if turn >= warmup:
                    samples[key].append(sample)
    return samples


@contextmanager
def one_core() -> Iterator[None]:
    """All threads of this process on one core, so that no library helps itself to another."""
    cores = os.sched_getaffinity(0)
    _pin({min(cores)})
    try:
        yield
    finally:
        _pin(cores)


def _pin(cores: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setaffinity(int(thread.name), cores)


@contextmanager
def _collector_idle() -> Iterator[None]:
    """What exists already is left out of every collection, so that one costs next to nothing."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
