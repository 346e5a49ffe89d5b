"""EmbeddingCache: an exception at any moment, a signal's too, leaves no transaction open."""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from llm_compression import EmbeddingCache
from tests.memory.cache_work import IDENTITY, content, keep, wrong


class Interrupting(sqlite3.Connection):
    """Raises before or after the statement that ``at`` names, once."""

    at: tuple[str, str] | None = None

    def execute(self, statement, *values):
        self._raise("before", statement)
        found = super().execute(statement, *values)
        self._raise("after", statement)
        return found

    def _raise(self, when: str, statement: str) -> None:
        if Interrupting.at == (when, statement.split(maxsplit=1)[0]):
            Interrupting.at = None
            raise KeyboardInterrupt


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def interrupting(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Interrupting]]:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Interrupting))
    yield Interrupting
    Interrupting.at = None


def is_free(path: Path) -> bool:
    """Whether another connection may write at once."""
    with closing(sqlite3.connect(path, timeout=0, factory=sqlite3.Connection)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("statement", ["BEGIN", "SELECT", "COMMIT"])
def test_an_interrupt_rolls_back(when: str, statement: str, path: Path, interrupting):
    cache = EmbeddingCache(path)
    keep(cache, 1)
    interrupting.at = when, statement
    with pytest.raises(KeyboardInterrupt):
        keep(cache, 2)
    assert is_free(path)
    kept = (when, statement) == ("after", "COMMIT")
    assert (len(cache), len(EmbeddingCache(path))) == (1 + kept, 1 + kept)
    keep(cache, 3)
    assert wrong(cache, 1, 2, 3) == []


@pytest.mark.parametrize("statement", ["BEGIN", "COMMIT"])
def test_an_interrupt_while_it_is_made(statement: str, path: Path, interrupting):
    interrupting.at = "after", statement
    cache = EmbeddingCache(path)
    with pytest.raises(KeyboardInterrupt):
        keep(cache, 1)
    assert is_free(path)
    keep(cache, 1)
    assert (len(cache), wrong(cache, 1)) == (1, [])


@pytest.mark.parametrize("use", [len, partial(keep)])
def test_what_a_rollback_left_is_rolled_back_by_the_next_use(use, path: Path, interrupting):
    cache = EmbeddingCache(path)
    keep(cache, 1)

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM vectors")
        interrupting.at = "before", "ROLLBACK"
        raise RuntimeError

    with pytest.raises(KeyboardInterrupt):
        cache._file.write(work)
    assert not is_free(path)
    len(cache) if use is len else keep(cache, 2)
    assert is_free(path)
    assert wrong(cache, 1) == []
    assert cache.get(IDENTITY, [content(1)])[0] is not None


@contextmanager
def alarms(seconds: float) -> Iterator[None]:
    """A signal after so many seconds that raises wherever the program is.

    Raised in a destructor it would be lost, so it comes again.
    """

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0, 0)
    finally:  # also where the last signal came in the lines above
        signal.setitimer(signal.ITIMER_REAL, 0, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("signals", [100, pytest.param(5000, marks=pytest.mark.slow)])
def test_signals_at_any_moment(signals: int, path: Path):
    cache = EmbeddingCache(path, max_entries=20)
    rng = np.random.default_rng(signals)
    number = 0
    for _ in range(signals):
        with pytest.raises(KeyboardInterrupt) as kept, alarms(rng.uniform(1e-4, 3e-3)):  # noqa: PT012
            while True:
                number += 1
                keep(cache, number)
                assert wrong(cache, number) == []
        assert is_free(path)
        assert kept.value is not None  # and with it every frame that it went through
    keep(cache, 0)
    assert (len(cache), wrong(cache, 0)) == (20, [])
