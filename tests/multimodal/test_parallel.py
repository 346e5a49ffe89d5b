"""Batches side by side: in order, on one core each, and none left running."""

import os
import threading
from collections.abc import Iterator

import pytest
import torch

from llm_compression.multimodal import parallel
from llm_compression.multimodal.parallel import batches_at_once, come_out_even, side_by_side


def test_in_order_however_long_each_takes() -> None:
    first = threading.Event()

    def run(batch: int) -> int:
        if batch == 0:
            assert first.wait(10)
        elif batch == 1:
            first.set()
        return batch * batch

    assert list(side_by_side(run, range(20), 2)) == [(i, i * i) for i in range(20)]


def test_each_has_one_core_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    seen = {n for _, n in side_by_side(lambda _: torch.get_num_threads(), range(8), 3)}
    assert seen == {1}
    assert torch.get_num_threads() == before
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [before]


@pytest.mark.parametrize(("batches", "at_once"), [([], 2), ([1, 2, 3, 4, 5], 1)], ids=str)
def test_what_is_not_divided_stays_in_its_thread(batches: list[int], at_once: int) -> None:
    def run(batch: int) -> int:
        return threading.get_ident()

    here = threading.get_ident()
    assert list(side_by_side(run, batches, at_once)) == [(batch, here) for batch in batches]


def test_an_error_comes_at_its_place_and_what_waits_is_not_run() -> None:
    ran: list[int] = []

    def run(batch: int) -> int:
        ran.append(batch)
        if batch == 2:
            raise ValueError("bad")
        return batch

    done = side_by_side(run, range(100), 2)
    assert [next(done), next(done)] == [(0, 0), (1, 1)]
    with pytest.raises(ValueError, match="bad"):
        next(done)
    assert len(ran) < 12


def test_batches_are_taken_as_they_are_wanted() -> None:
    taken: list[int] = []

    def batches() -> Iterator[int]:
        for batch in range(100):
            taken.append(batch)
            yield batch

    done = side_by_side(lambda batch: batch, batches(), 2)
    next(done)
    assert len(taken) <= 5
    done.close()
    assert len(taken) <= 5


def test_batches_that_leave_a_core_waiting_run_one_after_another() -> None:
    assert come_out_even([1024] * 4, 2)
    assert come_out_even([512, 512], 2)
    assert come_out_even([900, 600, 300], 2)  # each goes to the core that is free first
    assert not come_out_even([1024] * 3, 2)
    assert not come_out_even([8000, 300], 2)
    assert not come_out_even([512], 2)
    assert come_out_even([512], 1)
    assert come_out_even([], 2)


def test_no_more_at_once_than_a_user_lets_torch_have_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert batches_at_once(torch.device("cpu")) == 1
    finally:
        torch.set_num_threads(before)
    assert batches_at_once(torch.device("cuda", 0)) == 1


def test_threads_of_the_same_moment_keep_all_cores() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    ended = threading.Event()

    def start() -> None:
        while not ended.is_set():
            thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
            thread.start()
            thread.join()

    starting = threading.Thread(target=start)
    starting.start()
    for _ in range(30):
        parallel._pool.cache_clear()
        parallel._pool(2).shutdown()
    ended.set()
    starting.join()
    parallel._pool.cache_clear()
    assert set(seen) == {before}


def test_a_forked_child_has_threads_of_its_own() -> None:
    list(side_by_side(str, range(4), 2))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        os.write(writer, bytes(i for i, _ in side_by_side(str, range(4), 2)))
        os._exit(0)
    os.close(writer)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reader, 9) == bytes(range(4))
