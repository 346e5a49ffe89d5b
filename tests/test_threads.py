"""Work shared by the cores: its order, its errors, and life after a fork."""

import os
import threading

import pytest

from llm_compression.cores import cores
from llm_compression.threads import shared


def test_results_come_in_the_order_of_the_tasks() -> None:
    assert shared(lambda n: n * n, range(100)) == [n * n for n in range(100)]
    assert shared(str, []) == []


def test_tasks_run_at_the_same_time() -> None:
    if cores() == 1:
        assert shared(lambda n: n, [1, 2]) == [1, 2]
        return
    both = threading.Barrier(2, timeout=30)
    shared(lambda _: both.wait(), range(2))


def test_an_error_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        shared(lambda n: 1 // n, [1, 0])


def test_a_single_task_runs_in_the_callers_thread() -> None:
    assert shared(lambda _: threading.current_thread(), [0]) == [threading.current_thread()]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    shared(str, range(4))
    child = os.fork()
    if child == 0:
        os._exit(0 if shared(str, range(4)) == ["0", "1", "2", "3"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
