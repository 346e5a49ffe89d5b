"""EmbeddingCache: vectors by what they are made of and how, bounded, in memory or in a file."""

import hashlib
import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from llm_compression.errors import InputError, OutputError, TargetBusyError
from llm_compression.files.paths import user_path
from llm_compression.guard import Guard
from llm_compression.memory.cache.cache_file import CacheFile
from llm_compression.memory.identity import VectorIdentity
from llm_compression.multimodal.inputs import check_count

_MOST_BYTES = 256 << 20
_Row = tuple[str, bytes, bytes, bytes]  # the identity's key, content, vector and checksum
_Found = tuple[int, bytes]  # the row's id, and its vector


class EmbeddingCache:
    """Vectors (d,) float32 by their `VectorIdentity` and by the digest of their content.

    Vectors made in another way, by another model say, are never found. What was used longest ago
    goes first when there are too many. Threads share a cache, and processes a file; a killed
    process harms none, and every vector is checked against its checksum when it is read.

    Args:
        path: an SQLite database to keep them in, made if it is not there, in WAL mode; None
            keeps them in memory.
        max_entries: vectors kept at the most; None leaves that to ``max_bytes``.
        max_bytes: bytes of all vectors at the most, by default 256 MiB; keys come on top.

    Raises:
        InputError: a bound that is none, or ``path`` is no path.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        max_entries: int | None = None,
        max_bytes: int = _MOST_BYTES,
    ) -> None:
        self.max_entries = None if max_entries is None else check_count(max_entries, "max_entries")
        self.max_bytes = check_count(max_bytes, "max_bytes")
        self._file = CacheFile(None if path is None else user_path(path).absolute())
        self._counting = Guard()
        self._hits = self._misses = 0

    @property
    def path(self) -> Path | None:
        """The database, None for a cache in memory."""
        return self._file.path

    @property
    def hits(self) -> int:
        """Vectors that were asked of this object and found."""
        return self._hits

    @property
    def misses(self) -> int:
        """Vectors that were asked of this object and not found."""
        return self._misses

    def __len__(self) -> int:
        return self._file.read(_totals)[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all vectors; in the file each takes 200 to 400 more with its keys."""
        return self._file.read(_totals)[1]

    def get(self, identity: VectorIdentity, contents: Sequence[bytes]) -> list[np.ndarray | None]:
        """The vector of each content, None where there is none.

        The arrays are read-only, and the caller's own.

        Raises:
            StorageError, OutputError, TargetBusyError: the file cannot be used.
        """
        key = identity.key
        found = self._file.read(lambda file: [self._read(file, key, one) for one in contents])
        used = [row for row in found if row is not None]
        if used:
            with suppress(OutputError, TargetBusyError):  # what was found is as good without
                self._file.write(lambda file: _touch(file, [row for row, _ in used]))
        with self._counting.lock:
            self._hits += len(used)
            self._misses += len(found) - len(used)
        return [None if row is None else np.frombuffer(row[1], np.float32) for row in found]

    def put(self, identity: VectorIdentity, contents: Sequence[bytes], vectors: np.ndarray) -> None:
        """Keep ``vectors`` (n, d) of n contents; of a content that has one the first stays.

        Raises:
            InputError: they are not float32 of the identity's width.
            StorageError, OutputError, TargetBusyError: the file cannot be used.
        """
        expected = (len(contents), identity.dimension)
        if vectors.dtype != np.float32 or vectors.shape != expected:
            raise InputError(
                f"vectors are {vectors.dtype} {vectors.shape}; their identity says float32 "
                f"{expected}"
            )
        key = identity.key
        stored = [vector.tobytes() for vector in vectors]
        rows = [
            (key, content, vector, _checksum(key, content, vector))
            for content, vector in zip(contents, stored, strict=True)
        ]
        self._file.write(lambda file: self._insert(file, rows))

    def clear(self) -> None:
        """Forget every vector."""
        self._file.write(lambda file: file.execute("DELETE FROM vectors"))

    def close(self) -> None:
        """Let go of the file; the cache opens it again when it is used again."""
        self._file.close()

    def __repr__(self) -> str:
        place = "in memory" if self.path is None else repr(str(self.path))
        return f"EmbeddingCache({place}, {self.hits} hits, {self.misses} misses)"

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.path, self.max_entries, self.max_bytes)

    def _read(self, connection: sqlite3.Connection, key: str, content: bytes) -> _Found | None:
        row = connection.execute(
            "SELECT id, vector, checksum FROM vectors WHERE model = ? AND content = ?",
            (key, content),
        ).fetchone()
        if row is None:
            return None
        number, vector, checksum = row
        if not isinstance(vector, bytes) or checksum != _checksum(key, content, vector):
            raise self._file.damaged(f"the vector of row {number} is not the one that was kept")
        return number, vector

    def _insert(self, connection: sqlite3.Connection, rows: Sequence[_Row]) -> None:
        now = _next_use(connection)
        connection.executemany(
            "INSERT OR IGNORE INTO vectors (model, content, vector, checksum, used) "
            "VALUES (?, ?, ?, ?, ?)",
            [(*row, now) for row in rows],
        )
        self._evict(connection)

    def _evict(self, connection: sqlite3.Connection) -> None:
        """Drop what was used longest ago until the rest is within the bounds."""
        entries, nbytes = _totals(connection)
        most = entries if self.max_entries is None else self.max_entries
        if entries <= most and nbytes <= self.max_bytes:
            return
        dropped = []
        oldest = "SELECT id, coalesce(length(vector), 0) FROM vectors ORDER BY used, id"
        for number, size in connection.execute(oldest):
            if entries <= most and nbytes <= self.max_bytes:
                break
            dropped.append((number,))
            entries, nbytes = entries - 1, nbytes - size
        connection.executemany("DELETE FROM vectors WHERE id = ?", dropped)


def _checksum(key: str, content: bytes, vector: bytes) -> bytes:
    """16 bytes of a row: its vector, and whose it is."""
    return hashlib.blake2b(key.encode() + content + vector, digest_size=16).digest()


def _touch(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Note that rows are used now."""
    now = _next_use(connection)
    touch = "UPDATE vectors SET used = ? WHERE id = ?"
    connection.executemany(touch, [(now, row) for row in rows])


def _next_use(connection: sqlite3.Connection) -> int:
    """Later than every use so far, by any process."""
    later = "SELECT CAST(coalesce(max(used), 0) AS INTEGER) + 1 FROM vectors"
    (use,) = connection.execute(later).fetchone()
    return int(use)


def _totals(connection: sqlite3.Connection) -> tuple[int, int]:
    """Entries, and bytes of their vectors: numbers whatever a damaged file holds."""
    entries, nbytes = connection.execute(
        "SELECT total(entries), total(bytes) FROM totals"
    ).fetchone()
    return int(entries), int(nbytes)


def _reopen(path: Path | None, max_entries: int | None, max_bytes: int) -> EmbeddingCache:
    return EmbeddingCache(path, max_entries=max_entries, max_bytes=max_bytes)
