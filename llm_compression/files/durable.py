"""Files and names that outlive a loss of power, and the lock that their writers share.

A file's bytes are safe once it is synced, its name once its folder is. Both are done before any
function here returns, so that what is written next may rely on it.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from llm_compression.files import lock

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BUFFER = 1 << 20


class _Descriptor(io.RawIOBase):
    """A descriptor as a stream; closing it is left to who opened it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: "Buffer", /) -> int:
        return os.write(self._descriptor, data)


@contextmanager
def durable_file(path: Path) -> Iterator[BinaryIO]:
    """A new file, which is safe with its name when the block has ended and gone if it fails.

    Raises:
        FileExistsError: there is one of that name.
        OSError: it cannot be written, or the disk is full.
    """
    with _synced_file(path) as stream:
        yield stream
    sync_folder(path.parent)


@contextmanager
def _synced_file(path: Path) -> Iterator[BinaryIO]:
    """As `durable_file`, but the name is not safe yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with io.BufferedWriter(_Descriptor(descriptor), _BUFFER) as stream:
            yield stream
        os.fsync(descriptor)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(descriptor)


def durable_replace(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of a file at once, or leave the file as it was.

    Only one process may do so at a time.

    Raises:
        OSError: it cannot be written, or the disk is full.
    """
    draft = path.with_name(f".{path.name}.tmp")
    draft.unlink(missing_ok=True)  # of a writer that was killed
    with _synced_file(draft) as stream:
        stream.write(content)
    draft.rename(path)
    sync_folder(path.parent)


def durable_folder(path: Path) -> None:
    """Make a folder and those above it, and all their names safe, whoever made them.

    One that is there may be of a process that was killed before it synced anything.

    Raises:
        OSError: one cannot be made.
    """
    path.mkdir(parents=True, exist_ok=True)
    for above in path.absolute().parents:
        if os.access(above, os.W_OK):  # else nobody like us has made anything there
            sync_folder(above)


def sync_folder(path: Path) -> None:
    """Make the names in a folder safe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file against every other thread and process; it dies with its holder.

    Yields false, and holds nothing, where another holds it and ``wait`` is false.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield lock.take(descriptor, wait=wait)
    finally:
        lock.close(descriptor)
