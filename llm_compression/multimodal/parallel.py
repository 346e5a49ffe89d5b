"""Batches side by side: each core runs one whole, rather than all cores a part of each operator.

Cores that share an operator wait for each other at its end, some hundred times in a batch, and hand
each other what they have just computed. A batch that stays on one core does neither.
"""

import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from llm_compression.cores import cores
from llm_compression.native.openmp import openmp

B = TypeVar("B")
R = TypeVar("R")
_AHEAD = 2  # batches for each core that run or wait while others are taken
_UNEVEN = 1.1  # how much later than the average the last core may be done


def batches_at_once(device: torch.device) -> int:
    """How many batches a device runs side by side: as many as torch may use cores of the CPU."""
    return min(torch.get_num_threads(), cores()) if device.type == "cpu" else 1


def come_out_even(sizes: Sequence[int], at_once: int) -> bool:
    """Whether ``at_once`` batches at a time keep all cores busy nearly to the end.

    Where they do not, all cores together are done sooner with one batch after another.
    """
    loads = [0] * at_once
    for size in sizes:  # each goes to the core that is free first
        loads[loads.index(min(loads))] += size
    return max(loads) * at_once <= _UNEVEN * sum(sizes)


def side_by_side(
    run: Callable[[B], R], batches: Iterable[B], at_once: int
) -> Iterator[tuple[B, R]]:
    """Each of ``batches`` with what ``run`` makes of it, in order.

    ``at_once`` of them run at a time, each on one core; one at a time runs on all cores, in the
    caller's thread.
    """
    pool = _pool_if_any(at_once) if at_once > 1 else None
    if pool is None:
        yield from ((batch, run(batch)) for batch in batches)
        return
    running: deque[tuple[B, Future[R]]] = deque()
    try:
        for batch in batches:
            running.append((batch, _started(pool, run, batch)))
            if len(running) >= _AHEAD * at_once:
                done, found = running.popleft()
                yield done, found.result()
        while running:
            done, found = running.popleft()
            yield done, found.result()
    finally:
        for _, rest in running:
            rest.cancel()


def _started(pool: ThreadPoolExecutor, run: Callable[[B], R], batch: B) -> Future[R]:
    try:
        return pool.submit(run, batch)
    except RuntimeError:  # the interpreter is ending, and may have work to finish
        done: Future[R] = Future()
        done.set_result(run(batch))
        return done


def _pool_if_any(size: int) -> ThreadPoolExecutor | None:
    try:
        return _pool(size)
    except RuntimeError:  # the interpreter is ending, or the system has no more threads
        return None


@functools.cache
def _pool(size: int) -> ThreadPoolExecutor:
    """So many threads, in each of which torch has one."""
    before = torch.get_num_threads()
    started = threading.Barrier(size)
    pool = ThreadPoolExecutor(size, "batches", _take_one_core)
    try:
        for ready in [pool.submit(started.wait) for _ in range(size)]:
            ready.result()
    finally:
        started.abort()  # where not all could start, none of the others waits for ever
        torch.set_num_threads(before)  # what threads that are still to come begin with
    return pool


def _take_one_core() -> None:
    torch.get_num_threads()  # a thread that has asked keeps its number, whatever others set
    if threads := openmp():
        threads.omp_set_num_threads(1)  # this thread's alone
    if torch.get_num_threads() != 1:  # torch's own way, which threads of the moment take after
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
