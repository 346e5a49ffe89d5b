"""EmbeddingCache: what was put comes back to the bit, within bounds, and for no other model."""

import os
import pickle
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from llm_compression import EmbeddingCache
from llm_compression.errors import DamagedStorageError, InputError, LLMCompressionError, OutputError
from tests.memory.cache_work import (
    IDENTITY,
    WIDE,
    content,
    fill,
    fill_for_ever,
    fork_within,
    keep,
    vector,
    wrong,
)

SIZE = vector(0).nbytes


@pytest.fixture(params=["memory", "file"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(None if request.param == "memory" else tmp_path / "cache.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "cache.db"


def held(cache: EmbeddingCache, *numbers: int) -> list[int]:
    """Those numbers that the cache has a vector for."""
    found = cache.get(IDENTITY, [content(n) for n in numbers])
    return [n for n, one in zip(numbers, found, strict=True) if one is not None]


def test_what_is_put_comes_back_to_the_bit(cache: EmbeddingCache):
    odd = np.array([[np.nan, -0.0, np.inf, 1e-45, 1, 2, 3, 4]], np.float32)
    cache.put(IDENTITY, [content(0)], odd)
    (found,) = cache.get(IDENTITY, [content(0)])
    assert (found.tobytes(), found.dtype, found.shape) == (odd.tobytes(), np.float32, (8,))
    assert cache.get(IDENTITY, [content(1)]) == [None]


def test_hits_and_misses_are_counted(cache: EmbeddingCache):
    keep(cache, 1, 2)
    assert held(cache, 1, 2, 3) == [1, 2]
    assert (cache.hits, cache.misses, len(cache), cache.nbytes) == (2, 1, 2, 2 * SIZE)
    assert repr(cache).endswith("2 hits, 1 misses)")


def test_vectors_made_otherwise_are_never_found(cache: EmbeddingCache):
    keep(cache, 1)
    for change in ({"model": "b" * 64}, {"normalized": False}, {"pooling": "cls"},
                   {"prompt": "passage: "}, {"compute_dtype": "bfloat16"}):  # fmt: skip
        assert cache.get(replace(IDENTITY, **change), [content(1)]) == [None]


def test_the_first_vector_of_a_content_stays(cache: EmbeddingCache):
    keep(cache, 1)
    cache.put(IDENTITY, [content(1)], vector(2)[None])
    assert (wrong(cache, 1), len(cache)) == ([], 1)


def test_what_comes_back_changes_nothing_within(cache: EmbeddingCache):
    keep(cache, 1)
    (found,) = cache.get(IDENTITY, [content(1)])
    with pytest.raises(ValueError, match="read-only"):
        found += 1
    assert wrong(cache, 1) == []


@pytest.mark.parametrize("vectors", [np.ones((1, 7), np.float32), np.ones((1, 8)), np.ones((2, 8))])
def test_vectors_that_are_not_of_the_identity(vectors: np.ndarray, cache: EmbeddingCache):
    with pytest.raises(InputError, match="their identity says float32 \\(1, 8\\)"):
        cache.put(IDENTITY, [content(1)], vectors)


# bounds


@pytest.mark.parametrize("bound", [{"max_entries": 3}, {"max_bytes": 3 * SIZE}])
def test_what_was_used_longest_ago_goes_first(bound: dict[str, int], path: Path):
    cache = EmbeddingCache(path, **bound)
    keep(cache, 1)
    keep(cache, 2, 3)
    held(cache, 1)
    keep(cache, 4)
    assert (held(cache, 1, 2, 3, 4), len(cache), cache.nbytes) == ([1, 3, 4], 3, 3 * SIZE)


def test_more_at_once_than_it_may_hold(path: Path):
    cache = EmbeddingCache(path, max_entries=2)
    keep(cache, *range(9))
    assert held(cache, *range(9)) == [7, 8]


def test_a_file_does_not_grow_without_end(path: Path):
    cache = EmbeddingCache(path, max_entries=100)
    sizes = []
    for start in range(0, 4000, 100):
        keep(cache, *range(start, start + 100))
        cache.close()
        sizes.append(path.stat().st_size)
    assert max(sizes[20:]) <= 1.5 * sizes[2]


@pytest.mark.parametrize("bound", [{"max_entries": 0}, {"max_bytes": 0}, {"max_entries": 1.5}])
def test_bounds_that_are_none(bound: dict[str, int]):
    with pytest.raises(InputError, match="it must be a whole number at least 1"):
        EmbeddingCache(**bound)


def test_clear(cache: EmbeddingCache):
    keep(cache, 1, 2)
    cache.clear()
    assert (len(cache), cache.nbytes, held(cache, 1, 2)) == (0, 0, [])


# files


def test_a_file_is_there_the_next_time(path: Path):
    keep(EmbeddingCache(path), 1, 2)
    assert (held(EmbeddingCache(path), 1, 2, 3), wrong(EmbeddingCache(path), 1, 2)) == ([1, 2], [])


def test_a_closed_cache_opens_again(cache: EmbeddingCache):
    cache.close()
    keep(cache, 1)
    assert held(cache, 1) == [1]


def test_it_is_sent_by_its_path(path: Path):
    keep(EmbeddingCache(path), 1)
    assert held(pickle.loads(pickle.dumps(EmbeddingCache(path))), 1) == [1]


def damage(path: Path, change: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change)


@pytest.mark.parametrize(
    "change",
    [
        "vector = zeroblob(length(vector))",
        "vector = (SELECT vector FROM vectors WHERE id = 2)",
        "vector = 'text'",
        "vector = substr(vector, 1, 16)",
        "checksum = zeroblob(16)",
    ],
)
def test_a_damaged_row_is_named(change: str, path: Path):
    cache = EmbeddingCache(path)
    keep(cache, 1, 2)
    cache.close()
    damage(path, f"UPDATE vectors SET {change} WHERE id = 1")
    with pytest.raises(DamagedStorageError, match=f"{path} is damaged.*row 1"):
        held(cache, 1)
    assert wrong(cache, 2) == []


def test_a_row_of_another_content_is_named(path: Path):
    cache = EmbeddingCache(path)
    keep(cache, 1, 2)
    damage(path, "DELETE FROM vectors WHERE id = 2")
    damage(path, f"UPDATE vectors SET content = x'{content(2).hex()}' WHERE id = 1")
    with pytest.raises(DamagedStorageError, match="row 1 is not the one that was kept"):
        held(cache, 2)


@pytest.mark.parametrize("rounds", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_damage_gives_a_wrong_vector(rounds: int, path: Path):
    """Bits flipped anywhere in the file: an error that names it, or vectors that are right."""
    cache = EmbeddingCache(path, max_entries=205)
    keep(cache, *range(200))
    cache.close()
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(rounds)
    told = []
    for _ in range(rounds):
        flipped = whole.copy()
        flipped[rng.integers(0, len(whole), 40)] ^= 1 << rng.integers(8, dtype=np.uint8)
        path.write_bytes(flipped.tobytes())
        with suppress(DamagedStorageError, InputError, OutputError), naming(path, told):
            assert wrong(cache, *range(200)) == []
            keep(cache, *range(200, 210))
            assert wrong(cache, *range(210)) == []
        cache.close()
    assert len(told) > rounds / 3


@contextmanager
def naming(path: Path, told: list[str]) -> Iterator[None]:
    """Every error in it names ``path``."""
    try:
        yield
    except LLMCompressionError as error:
        told.append(str(error))
        assert str(path) in told[-1]
        raise


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file(share: float, path: Path):
    cache = EmbeddingCache(path)
    keep(cache, *range(500))
    cache.close()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises((DamagedStorageError, OutputError), match=str(path)):
        held(cache, *range(500))


def test_a_file_of_something_else_is_left_alone(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("a note, longer than the header of a database is\n" * 10)
    before = path.read_bytes()
    with pytest.raises(DamagedStorageError, match=f"{path} is damaged, or no cache at all"):
        keep(EmbeddingCache(path), 1)
    assert path.read_bytes() == before


def test_another_database_is_left_alone(tmp_path: Path):
    path = tmp_path / "theirs.db"
    damage(path, "CREATE TABLE vectors (id)")
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"{path} is a database, but no embedding cache"):
        keep(EmbeddingCache(path), 1)
    assert path.read_bytes() == before


def test_a_full_disk_is_told_and_loses_nothing(path: Path):
    cache = EmbeddingCache(path)
    keep(cache, 1)
    (pages,) = cache._file.read(lambda file: file.execute("PRAGMA page_count").fetchone())
    cache._file.read(lambda file: file.execute(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(OutputError, match=f"{path}: database or disk is full; free space"):
        keep(cache, *range(2, 4000))
    assert (held(cache, 1, 2), len(cache)) == ([1], 1)


# threads and processes


def test_threads_share_a_cache(cache: EmbeddingCache):
    def work(start: int) -> None:
        for number in range(start, start + 40):
            keep(cache, number)
            bad.extend(wrong(cache, number, start))

    bad: list[int] = []
    threads = [threading.Thread(target=work, args=(100 * i,)) for i in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert (bad, len(cache), cache.hits + cache.misses) == ([], 320, 640)


def test_processes_share_a_file(path: Path, start):
    """Also one that none of them has made before."""
    begun = [start(fill, path, 100 * i, 50) for i in range(6)]
    for pipe, _ in begun:
        pipe.send("go")
    found = [pipe.recv() for pipe, _ in begun]
    [process.join() for _, process in begun]
    assert [bad for bad, _ in found] == [[]] * 6
    assert max(entries for _, entries in found) == len(EmbeddingCache(path)) == 300


def test_opening_waits_for_others_that_open(path: Path, monkeypatch: pytest.MonkeyPatch):
    refused = []

    class Refusing(sqlite3.Connection):
        """As two that switch to a log at one moment: SQLite refuses one of them at once."""

        def execute(self, statement, *values):
            if "journal_mode" in statement and len(refused) < 2:
                refused.append(statement)
                raise sqlite3.OperationalError("database is locked")
            return super().execute(statement, *values)

    connect = partial(sqlite3.connect, factory=Refusing)
    monkeypatch.setattr(sqlite3, "connect", connect)
    keep(EmbeddingCache(path), 1)
    assert (len(refused), wrong(EmbeddingCache(path), 1)) == (2, [])


def sqlite3_says(path: Path) -> str:
    """What SQLite's own check of the whole file finds."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]


@pytest.mark.parametrize("kills", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_at_any_moment(kills: int, path: Path, start):
    rng = np.random.default_rng(kills)
    said = [0]
    for _ in range(kills):
        pipe, process = start(fill_for_ever, path, said[-1] + 1)
        said.append(pipe.recv())
        time.sleep(rng.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with suppress(EOFError):
            while pipe.poll():
                said.append(pipe.recv())
        cache, last = EmbeddingCache(path), range(max(1, said[-1] - 60), said[-1] + 9)
        assert sqlite3_says(path) == "ok"
        assert wrong(cache, *last, identity=WIDE) == []
        kept = cache.get(WIDE, [content(n) for n in range(said[-1] - 7, said[-1] + 1)])
        assert [one is None for one in kept] == [False] * 8
        assert len(cache) <= 50


def test_a_forked_process_opens_its_own(path: Path, start):
    pipe, process = start(fork_within, path)
    assert pipe.recv() == (0, 2, [])
    process.join()
