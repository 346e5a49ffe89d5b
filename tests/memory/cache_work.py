"""What other processes do to a cache: module-level functions, so that they can be named to them."""

import os
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from llm_compression.memory.cache import EmbeddingCache
from llm_compression.memory.identity import VectorIdentity

IDENTITY = VectorIdentity("a" * 64, "float32", 256, 8, normalized=True, precision="float32")


def content(number: int) -> bytes:
    """Stands for the digest of an input."""
    return number.to_bytes(32, "little")


def vector(number: int) -> np.ndarray:
    """(8,), another one for each number."""
    return np.random.default_rng(number).normal(size=8).astype(np.float32)


def keep(cache: EmbeddingCache, *numbers: int) -> None:
    """Put the vectors of these numbers."""
    cache.put(IDENTITY, [content(n) for n in numbers], np.stack([vector(n) for n in numbers]))


def wrong(cache: EmbeddingCache, *numbers: int) -> list[int]:
    """Numbers for which the cache has another vector than was put."""
    found = cache.get(IDENTITY, [content(n) for n in numbers])
    pairs = zip(numbers, found, strict=True)
    return [n for n, held in pairs if held is not None and held.tobytes() != vector(n).tobytes()]


def fill(pipe: Connection, path: Path, start: int, count: int) -> None:
    """Put so many, read them, and say which are wrong and how many are held."""
    cache = EmbeddingCache(path)
    pipe.recv()
    for number in range(start, start + count):
        keep(cache, number)
    pipe.send((wrong(cache, *range(start, start + count)), len(cache)))


def fill_for_ever(pipe: Connection, path: Path, start: int) -> None:
    """Put and evict without an end, saying each number that is kept."""
    cache = EmbeddingCache(path, max_entries=50)
    for number in range(start, start + 1_000_000):
        keep(cache, number)
        pipe.send(number)


def fork_within(pipe: Connection, path: Path) -> None:
    """Fork while a thread holds the cache; say how the child ended that used it, and the rest."""
    cache = EmbeddingCache(path)
    keep(cache, 1)
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        with cache._file.connected(write=False):
            begun.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)  # a child that waits for its parent's thread waits for ever
        keep(cache, 2)
        os._exit(len(wrong(cache, 1, 2)))
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done.set()
    thread.join()
    pipe.send((ended, len(cache), wrong(cache, 1, 2)))
