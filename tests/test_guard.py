"""Locks that another thread holds at a fork do not hang the child."""

import os
import signal
from collections.abc import Callable

import pytest

from llm_compression.guard import Guard
from llm_compression.inference import products
from llm_compression.once import Once


def status_of_child(work: Callable[[], object], seconds: int = 10) -> int:
    """What becomes of a forked child that does ``work``; a hanging one is killed."""
    child = os.fork()
    if child == 0:  # pragma: no cover
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        try:
            work()
        except BaseException:  # the child must not go on as pytest
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that it has threads
def test_a_child_finds_every_lock_free() -> None:
    guard, once = Guard(), Once(lambda: 7)
    switch = products._Switch("mkldnn", "ieee", lambda _precision: True)

    def work() -> None:
        with guard.lock, switch:
            assert once() == 7

    with guard.lock, once._guard.lock, switch._guard.lock:
        assert status_of_child(work) == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_lock_of_its_parent_would_hang_it() -> None:
    lock = Guard().lock
    with lock:
        assert status_of_child(lock.acquire, seconds=1) == signal.SIGALRM
