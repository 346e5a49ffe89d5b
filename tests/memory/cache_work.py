"""What other processes do to a cache: module-level functions, so that they can be named to them."""

import os
import resource
import signal
import threading
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from llm_compression.errors import OutputError
from llm_compression.memory.cache.cache import EmbeddingCache
from llm_compression.memory.identity import VectorIdentity

IDENTITY = VectorIdentity("a" * 64, "float32", 256, 8, normalized=True, precision="float32")

WIDE = replace(IDENTITY, dimension=2048)  # of which a few fill many pages


def content(number: int) -> bytes:
    """Stands for the digest of an input."""
    return number.to_bytes(32, "little")


def vector(number: int, width: int = 8) -> np.ndarray:
    """(width,), another one for each number."""
    return np.random.default_rng(number).normal(size=width).astype(np.float32)


def keep(cache: EmbeddingCache, *numbers: int, identity: VectorIdentity = IDENTITY) -> None:
    """Put the vectors of these numbers."""
    vectors = np.stack([vector(n, identity.dimension) for n in numbers])
    cache.put(identity, [content(n) for n in numbers], vectors)


def wrong(cache: EmbeddingCache, *numbers: int, identity: VectorIdentity = IDENTITY) -> list[int]:
    """Numbers for which the cache has another vector than was put."""
    found = cache.get(identity, [content(n) for n in numbers])
    held = [(n, one) for n, one in zip(numbers, found, strict=True) if one is not None]
    return [n for n, one in held if one.tobytes() != vector(n, identity.dimension).tobytes()]


def fill(pipe: Connection, path: Path, start: int, count: int) -> None:
    """Put so many, read them, and say which are wrong and how many are held."""
    cache = EmbeddingCache(path)
    pipe.recv()
    for number in range(start, start + count):
        keep(cache, number)
    pipe.send((wrong(cache, *range(start, start + count)), len(cache)))


def fill_for_ever(pipe: Connection, path: Path, start: int) -> None:
    """Put eight and evict eight without an end, saying the last number that is kept."""
    cache = EmbeddingCache(path, max_entries=50)
    for number in range(start, start + 1_000_000, 8):
        keep(cache, *range(number, number + 8), identity=WIDE)
        pipe.send(number + 7)


def fork_within(pipe: Connection, path: Path) -> None:
    """Fork while a thread holds the cache; say how the child ended that used it, and the rest."""
    cache = EmbeddingCache(path)
    keep(cache, 1)
    begun, done = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        begun.set()
        done.wait()

    thread = threading.Thread(target=cache._file.read, args=(hold,))
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


Said = tuple[list[bool], int, str]  # which of 1, 2 are found, how many are held, what `put` said


def use_without_rights(pipe: Connection, path: Path) -> None:
    """Say what a cache does for a user who may write nothing."""
    vector(0)  # what it imports another user may not read
    if not os.getuid():
        os.seteuid(65_534)
    pipe.send(_used(path))


def use_on_a_full_disk(pipe: Connection, path: Path) -> None:
    """Say what a cache does where no file can grow."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    pipe.send(_used(path))


def _used(path: Path) -> Said:
    cache = EmbeddingCache(path)
    try:
        found = [one is not None for one in cache.get(IDENTITY, [content(1), content(2)])]
        assert wrong(cache, 1, 2) == []
        keep(cache, 2)
    except OutputError as error:
        return found, len(cache), str(error)
    return found, len(cache), ""


def keep_and_wait(pipe: Connection, path: Path) -> None:
    """Keep a vector in the log, and hold the database open until told."""
    cache = EmbeddingCache(path)
    keep(cache, 1)
    pipe.send("kept")
    pipe.recv()
