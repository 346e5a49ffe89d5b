"""CacheFile: the SQLite database of an embedding cache, shared by threads and processes."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from llm_compression.errors import (
    DamagedStorageError,
    LLMCompressionError,
    OutputError,
    TargetBusyError,
)
from llm_compression.memory.cache.database import (
    PATIENCE,
    in_transaction,
    open_database,
    open_to_read,
    roll_back,
)

T = TypeVar("T")


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
        """What ``work`` reads, one thread at a time; where none can be made, of an empty one.

        Raises:
            DamagedStorageError: the file is damaged, or no SQLite database at all.
            InputError: it is a database of something else.
            TargetBusyError: other processes write without an end.
            OutputError: it is there, and cannot be read.
        """
        held = self._held()
        with held.lock:
            try:
                with self._errors():
                    connection = self._settled(held)
            except OutputError:  # it is not kept open, as it may come to be written
                with self._errors(), closing(open_to_read(self.path)) as unwritable:
                    return work(unwritable)
            with self._errors():
                return work(connection)

    def write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Let ``work`` write, all of it or nothing.

        Raises:
            DamagedStorageError, InputError, TargetBusyError: as of `read`.
            OutputError: it cannot be written.
        """
        held = self._held()
        with held.lock, self._errors():
            in_transaction(self._settled(held), work)

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
        held.connection = held.connection or open_database(self.path)
        roll_back(held.connection)
        return held.connection

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
                    f"{PATIENCE:.0f} s; end it or choose another path"
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
