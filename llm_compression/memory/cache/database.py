"""The SQLite database of an embedding cache: its tables, how it is opened, and its transactions."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from llm_compression.errors import InputError

PATIENCE = 60.0  # seconds to wait for other processes
_APPLICATION = 0x6C6C6D63  # "llmc", in the header of every cache
_VERSION = 1
_PAGE = 16384  # a page of 4096 would hold one vector of 512 and waste half of itself
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


def open_database(path: Path | None) -> sqlite3.Connection:
    """The database at ``path``, made if it is not there; None is for one in memory.

    Raises:
        InputError: it is a database of something else.
        sqlite3.Error, OSError: it cannot be written, or is damaged.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    connection = _connect(path or ":memory:")
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE}")
        in_transaction(connection, lambda database: _claim(database, path))
        _log_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_read(path: Path | None) -> sqlite3.Connection:
    """The database where it cannot be written; where there is none, an empty one in memory.

    SQLite reads a write-ahead log by its index, which it makes beside it. Where that cannot be and
    nothing is logged, the database alone is all there is.

    Raises:
        InputError: it is a database of something else.
        sqlite3.Error, OSError: it cannot be read, or is damaged.
    """
    if path is None or not path.exists():
        return open_database(None)
    try:
        return _opened_to_read(path, "mode=ro")
    except sqlite3.OperationalError:
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _opened_to_read(path, "immutable=1")


def _opened_to_read(path: Path, option: str) -> sqlite3.Connection:
    connection = _connect(f"{path.as_uri()}?{option}", uri=True)
    try:
        new = _is_new(connection, path)
    except BaseException:
        connection.close()
        raise
    if new:  # a full disk left it without a table
        connection.close()
    return open_database(None) if new else connection


def _connect(place: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        place,
        timeout=PATIENCE,
        isolation_level=None,  # transactions begin where this file says so
        check_same_thread=False,  # the lock of who opens it sees to that
        uri=uri,
    )


def _claim(connection: sqlite3.Connection, path: Path | None) -> None:
    """Make a new database a cache."""
    if _is_new(connection, path):
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        for statement in _statements():
            connection.execute(statement)


def _is_new(connection: sqlite3.Connection, path: Path | None) -> bool:
    """Whether a database holds nothing; what it holds must be a cache."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    new = not application and not connection.execute("SELECT name FROM sqlite_master").fetchone()
    if not new and (application, version) != (_APPLICATION, _VERSION):
        raise InputError(
            f"{path} is a database, but no embedding cache that this release knows; choose "
            "another path"
        )
    return new


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
    deadline = time.monotonic() + PATIENCE
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


def in_transaction(
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
        roll_back(connection)


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that was not committed, if there is one."""
    if connection.in_transaction:  # a full disk has rolled it back already
        connection.execute("ROLLBACK")
