"""SIGKILL at any moment loses no acknowledged step, and leaves no half of one."""

import random
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.storage import work
from tests.memory.storage.steps import State, Step, after, assert_works_on, held

OWNERS = ("ann", "bob")
ROUNDS_IN_A_FOLDER = 4


@pytest.mark.parametrize("kills", [20, pytest.param(240, marks=pytest.mark.slow)])
def test_no_kill_loses_an_acknowledged_step(start, tmp_path: Path, kills: int):
    chosen = random.Random(kills)
    for number in range(kills // len(OWNERS)):
        path = tmp_path / str(number // ROUNDS_IN_A_FOLDER)
        before = held(VectorStorage(path))
        prefixes = [f"{owner}{number}" for owner in OWNERS]
        workers = [
            start(work.take_steps, path, chosen.randrange(1 << 30), owner, None)
            for owner in prefixes
        ]
        time.sleep(chosen.uniform(0.02, 0.3))
        for _, process in workers:
            process.kill()
        logs = [said(pipe) for pipe, _ in workers]
        for _, process in workers:
            process.join()
        found = held(VectorStorage(path))
        assert VectorStorage(path).verify() == []
        for owner, log in zip(prefixes, logs, strict=True):
            own = {one: version for one, version in found.items() if one.startswith(f"{owner}-")}
            assert own in allowed(log)
        assert before.items() <= found.items()
        assert_works_on(path)


def said(pipe: Connection) -> list[Step | str]:
    """What a process that is dead now has sent."""
    received: list[Step | str] = []
    try:
        while True:
            received.append(pipe.recv())
    except (EOFError, OSError):  # the last word was cut
        return received


def allowed(log: list[Step | str]) -> list[State]:
    """The rows after all acknowledged steps, and after the one that was not acknowledged."""
    state, begun = State(), None
    for word in log:
        assert isinstance(word, Step) or word == "done", word
        if word == "done":
            state = after(state, begun)
        else:
            begun = word
    unfinished = begun is not None and log[-1] != "done"
    return [state, after(state, begun)] if unfinished else [state]
