"""atomic_write: a file appears whole under its name or not at all."""

import errno
import os
import shutil
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llm_compression.errors import LLMCompressionError, OutputError, TargetBusyError
from llm_compression.files import lock

_LONG = 10.0  # seconds; a copy of most models is made in less


class WaitingWarning(UserWarning):
    """Another process has been writing the same file for long; it may hang."""


@dataclass
class Draft:
    """A file being written; ``keep`` set to false leaves the target as it was."""

    path: Path
    keep: bool = True


@contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Let the operating system's errors name ``target`` and a remedy.

    Raises:
        OutputError: instead of any other OSError.
    """
    try:
        yield
    except LLMCompressionError:  # some are OSErrors, and say more than could be said here
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; {_remedy(error)}"
        ) from error


def _remedy(error: OSError) -> str:
    if isinstance(error, (PermissionError, NotADirectoryError, FileNotFoundError)):
        return "choose another place"
    return "free space there or choose another place"  # pyarrow's errors bear no number


@contextmanager
def atomic_write(target: Path, *, wait: bool = False) -> Iterator[Draft]:
    """Yield a temporary sibling of ``target``; on a clean exit sync it and rename it.

    The sibling is locked while it is written, so a second writer of the same target is refused
    (or waits, with ``wait=True``) and one that a killed writer left behind is taken over. What is
    no file, a pipe or a device say, is written to itself; a link stays one.

    Raises:
        TargetBusyError: another process holds the lock and ``wait`` is false.
        OSError: the folder cannot be written, or the disk is full.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    target = Path(os.path.realpath(target))
    if target.exists() and not target.is_file():
        yield Draft(target)
        return
    draft = Draft(target.with_name(f".{target.name}.tmp"))
    descriptor = _open_locked(draft.path, target, wait=wait)
    try:
        os.ftruncate(descriptor, 0)
        yield draft
        if draft.keep:
            _sync(draft.path)
            draft.path.replace(target)
        else:
            draft.path.unlink()
    except BaseException:
        draft.path.unlink(missing_ok=True)  # still ours: renaming is the last step that can fail
        raise
    finally:
        lock.close(descriptor)
    _sync(target.parent)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty temporary sibling folder of ``target``; on a clean exit rename it.

    What a killed writer left behind is taken over.

    Raises:
        TargetBusyError: another process is making the same folder.
        OSError: it cannot be written, or the disk is full.
    """
    draft = target.with_name(f".{target.name}.tmp")
    draft.mkdir(exist_ok=True)
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        _hold(descriptor, target, wait=False)
        for left in draft.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield draft
        draft.replace(target)
    except TargetBusyError:
        raise
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        lock.close(descriptor)


def _open_locked(temporary: Path, target: Path, *, wait: bool) -> int:
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            _hold(descriptor, target, wait=wait)
        except BaseException:
            lock.close(descriptor)
            raise
        if _is_same_file(descriptor, temporary):
            return descriptor
        lock.close(descriptor)  # the holder renamed or removed it while we waited


def _hold(descriptor: int, target: Path, *, wait: bool) -> None:
    if lock.take(descriptor, wait=False):
        return
    if not wait:
        raise TargetBusyError(
            f"{target} is being written by another process; wait for it or choose another path"
        )
    said = f"waiting for another process, which is writing {target}; end it if it hangs"
    timer = threading.Timer(_LONG, warnings.warn, [said, WaitingWarning])
    timer.daemon = True
    timer.start()
    try:
        lock.take(descriptor, wait=True)
    finally:
        timer.cancel()


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
