"""Fixtures: clean processes that have everything imported."""

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess

import pytest


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Processes forked from one that imported the package and computed nothing.

    They inherit no thread, mapping, socket or environment of a test: hand over what they need.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.conversion.work", "tests.memory.storage.work", "tests.weights.work"]
    )
    return context


@pytest.fixture(scope="session")
def start(processes: ForkServerContext) -> Callable[..., tuple[Connection, ForkServerProcess]]:
    """Starts ``work(pipe, *args)`` in a process of its own and gives the pipe's other end."""

    def begin(work: Callable[..., None], *args: object) -> tuple[Connection, ForkServerProcess]:
        here, there = processes.Pipe()
        process = processes.Process(target=work, args=(there, *args), daemon=True)
        process.start()
        there.close()  # so that the death of the other process ends a wait for its word
        return here, process

    return begin
