"""CacheFile: the SQLite database of an embedding cache, shared by threads and processes."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from llm_compression.errors import (
    DamagedStorageError,
    InputError,
    LLMCompressionError,
    OutputError,
    TargetBusyError,
)

T = TypeVar("T")
_APPLICATION = 0x6C6C6D63  # "llmc", in the header of every cache
_VERSION = 1
_PAGE = 16384  # a page of 4096 would hold one vector of 512 and waste half of itself
_PATIENCE = 60.0  # seconds to wait for other processes
_PAUSE = 0.005
_SCHEMA = """
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, content BLOB NOT NULL, vector BLOB NOT NULL,
    checksum BLOB NOT NULL, used INTEGER NOT NULL, UNIQUE (model, content)
);
CREATE INDEX vectors_by_use ON vectors (used);
CREATE TABLE totals (entries INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0);
CREATE TRIGGER vector_added AFTER INSERT ON vectors BEGIN
    UPDATE totals SET entries = entries + 1, bytes = bytes + length(new.vector);
END;
CREATE TRIGGER vector_removed AFTER DELETE ON vectors BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - length(old.vector);
END;
"""


@dataclass
class _Open:
    """What one process holds of the database."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    connection: sqlite3.Connection | None = None


class CacheFile:
    """An SQLite database at ``path``, made if it is not there; None keeps one in memory.

    It is opened on first use, anew in a process that was forked. A write-ahead log makes it safe
    to kill: what was not committed is gone, and nothing else.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        # a connection must not cross a fork, not even to be closed
        self._by_process: dict[int, _Open] = {}

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` reads, one thread at a time.

        Raises:
            DamagedStorageError: the file is damaged, or no SQLite database at all.
            InputError: it is a database of something else.
            TargetBusyError: other processes write without an end.
            OutputError: it cannot be read.
        """
        held = self._held()
        with held.lock, self._errors():
            return work(self._settled(held))

    def write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Let ``work`` write, all of it or nothing.

        Raises:
            DamagedStorageError, InputError, TargetBusyError: as of `read`.
            OutputError: it cannot be written.
        """
        held = self._held()
        with held.lock, self._errors():
            _in_transaction(self._settled(held), work)

    def close(self) -> None:
        """Let go of the file; it opens again when it is used again."""
        held = self._held()
        with held.lock, self._errors():
            if held.connection is not None:
                held.connection.close()
            held.connection = None

    def __del__(self) -> None:
        with suppress(Exception):  # the interpreter may be on its way out
            self.close()

    def damaged(self, what: object) -> DamagedStorageError:
        """The error that the file is damaged."""
        return DamagedStorageError(
            f"the embedding cache {self.path} is damaged, or no cache at all: {what}; choose "
            "another path, or delete it if it was one: it fills again"
        )

    def _held(self) -> _Open:
        return self._by_process.setdefault(os.getpid(), _Open())

    def _settled(self, held: _Open) -> sqlite3.Connection:
        """The open connection; what an exception in a rollback has left begun is rolled back."""
        held.connection = held.connection or self._open()
        _roll_back(held.connection)
        return held.connection

    def _open(self) -> sqlite3.Connection:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path or ":memory:",
            timeout=_PATIENCE,
            isolation_level=None,  # transactions begin where this file says so
            check_same_thread=False,  # the lock sees to that
        )
        try:
            connection.execute(f"PRAGMA page_size = {_PAGE}")
            _in_transaction(connection, self._claim)
            _log_ahead(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _claim(self, connection: sqlite3.Connection) -> None:
        """Make a new database a cache; of an existing one see that it is."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = connection.execute("SELECT name FROM sqlite_master").fetchone()
        if not application and not tables:
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            for statement in _statements():
                connection.execute(statement)
        elif (application, version) != (_APPLICATION, _VERSION):
            raise InputError(
                f"{self.path} is a database, but no embedding cache that this release knows; "
                "choose another path"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of SQLite as ours, which name the file."""
        try:
            yield
        except LLMCompressionError:
            raise
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise TargetBusyError(
                    f"the embedding cache {self.path} is held by another process for more than "
                    f"{_PATIENCE:.0f} s; end it or choose another path"
                ) from error
            raise self._unusable(error) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise self.damaged(error) from error
        except OSError as error:
            raise self._unusable(error.strerror or error) from error

    def _unusable(self, what: object) -> OutputError:
        return OutputError(
            f"cannot use the embedding cache {self.path}: {what}; free space there, make it "
            "writable, or choose another path"
        )


def _statements() -> Iterator[str]:
    """The schema, statement by statement: a script would end the transaction."""
    statement = ""
    for line in _SCHEMA.splitlines():
        statement += f"{line}\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log, for which SQLite does not wait by itself."""
    deadline = time.monotonic() + _PATIENCE
    while not _switched(connection, last=time.monotonic() > deadline):
        time.sleep(_PAUSE)


def _switched(connection: sqlite3.Connection, *, last: bool) -> bool:
    """Whether it could be done; on the ``last`` attempt an error that it could not."""
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:  # another process does the same at this moment
        if last or "locked" not in str(error):
            raise
        return False
    return True


def _in_transaction(
    connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], object]
) -> None:
    """Do some work, and all of it; a signal may raise anywhere within.

    A context manager would not do: raised at its end of entering, nothing would leave it.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        work(connection)
        connection.execute("COMMIT")
    finally:
        _roll_back(connection)


def _roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that was not committed, if there is one."""
    if connection.in_transaction:  # a full disk has rolled it back already
        connection.execute("ROLLBACK")
