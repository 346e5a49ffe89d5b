"""What the storage tests' other processes do."""

import os
import resource
import signal
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa

from llm_compression.errors import DuplicateIdError, LLMCompressionError
from llm_compression.memory.search import twin
from llm_compression.memory.storage import dataset
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.storage.steps import held, put, random_steps, take

SMALL = 16  # rows of the largest fragment here, so that a batch of 40 has several


def take_steps(pipe: Connection, path: Path, seed: int, owner: str, count: int | None) -> None:
    """Take ``count`` steps or until killed; each is sent before it begins and after it ended."""
    dataset.MAX_ROWS = SMALL
    storage = VectorStorage(path)
    try:
        for number, step in enumerate(random_steps(seed, owner)):
            if number == count:
                break
            pipe.send(step)
            take(storage, step)
            pipe.send("done")
    except Exception:
        pipe.send(traceback.format_exc())


def store_each(moment: float, path: Path, ids: list[str], version: int) -> list[str]:
    """Those of ``ids`` that were not refused."""
    storage = VectorStorage(path)
    while time.monotonic() < moment:
        pass
    return [one for one in ids if stored(storage, one, version)]


def stored(storage: VectorStorage, one: str, version: int) -> bool:
    try:
        put(storage, [one], version)
    except DuplicateIdError:
        return False
    return True


def replace_all(path: Path, ids: list[str], versions: range) -> None:
    """Store the same batch again and again."""
    storage = VectorStorage(path)
    for version in versions:
        put(storage, ids, version, replace=True)


def read_until(pipe: Connection, path: Path, ids: list[str]) -> None:
    """Read until told to stop; send how often, and every reading that was no whole version."""
    storage, readings, wrong = VectorStorage(path), 0, []
    while not pipe.poll():
        for state in (held(storage), held(VectorStorage(path))):
            readings += 1
            if set(state) != set(ids) or len(set(state.values())) != 1:
                wrong.append(state)
    pipe.send((readings, wrong))


def fill_a_small_disk(path: Path, limit: int) -> tuple[list[str], dict[str, int]]:
    """What storing says where a file may have ``limit`` bytes, and the rows that are there."""
    storage = VectorStorage(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    return [said_of(storage, n) for n in (1, 500, 2)], held(storage)


def said_of(storage: VectorStorage, n: int) -> str:
    try:
        put(storage, [f"{n}-{i}" for i in range(n)])
    except LLMCompressionError as error:
        return f"{type(error).__name__}: {error}"
    return "stored"


def fork_while_a_twin_is_made(pipe: Connection, path: Path, method: str) -> None:
    """Search in a child that was forked while a thread makes what the search wants; say its end."""
    storage = VectorStorage(path)
    begun, done = threading.Event(), threading.Event()
    make = twin.mapped_table

    def slowly(*arguments: object) -> pa.Table:
        begun.set()
        done.wait()
        return make(*arguments)

    if method == "int8":
        storage.prepare_search("text")
    twin.mapped_table = slowly
    thread = threading.Thread(target=lambda: storage.prepare_search("text", method=method))
    thread.start()
    begun.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)  # a child that waits for its parent's thread waits for ever
        twin.mapped_table = make
        found = storage.search([1.0, 0.0], top_k=3, method=method)
        os._exit(len(found))
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done.set()
    thread.join()
    pipe.send((ended, len(storage.search([1.0, 0.0], top_k=3))))
