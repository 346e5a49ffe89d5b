"""Threads: Python functions that share the cores of this process."""

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from llm_compression.cores import cores

T = TypeVar("T")
R = TypeVar("R")


def shared(work: Callable[[T], R], tasks: Iterable[T]) -> list[R]:
    """``work`` of each task, in their order, on all cores; for work that lets Python's lock go.

    The caller's thread is one of those that work. The others sleep between calls, where those of
    a BLAS or of OpenMP keep turning for up to 100 ms, in which whatever runs next has a core less.
    """
    given = list(tasks)
    done: dict[int, R] = {}
    turns = iter(range(len(given)))  # whoever is free takes the next

    def take() -> None:
        for turn in turns:
            done[turn] = work(given[turn])

    others: list[Future[None]] = []
    with suppress(RuntimeError):  # the interpreter is ending, and starts no more threads
        others.extend(_pool().submit(take) for _ in range(min(cores(), len(given)) - 1))
    try:
        take()
    finally:
        for other in others:
            if not other.cancel():  # it has begun
                other.result()
    return [done[turn] for turn in range(len(given))]


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), "llm_compression")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
