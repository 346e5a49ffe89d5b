"""Sidecars: disposable files beside a fragment, made when they are first wanted.

Their names end in a checksum of their bytes, so one that is damaged is found and made again.
Nothing is lost when all are removed.
"""

import contextlib
import os
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from llm_compression.files.atomic import output_errors
from llm_compression.memory.storage.dataset import SIDECARS
from llm_compression.memory.storage.fragment import Fragment, FragmentGoneError
from llm_compression.memory.storage.sums import file_sum

_DIGITS = 16
_STALE_SECONDS = 3600  # after which a draft is of a process that was killed


class SidecarWarning(UserWarning):
    """A sidecar cannot be written, so it is made again by each process and kept in memory."""


def find(fragment: Fragment, kind: str) -> Path | None:
    """The intact sidecar of this kind; a damaged one is removed."""
    return next((path for path in named(fragment, kind) if _intact(path)), None)


def named(fragment: Fragment, kind: str) -> Iterator[Path]:
    """Sidecars of this kind by their names."""
    return (fragment.folder / SIDECARS).glob(f"{fragment.path.stem}.{kind}-*")


def make(fragment: Fragment, kind: str, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a file, and give it its name once it is safe.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
        FragmentGoneError: compaction removed the fragment meanwhile, and with it this file.
    """
    folder = fragment.folder / SIDECARS
    with output_errors(folder):
        folder.mkdir(exist_ok=True)
        _drop_drafts(folder)
        draft = folder / f"{fragment.path.stem}.{uuid.uuid4().hex}.tmp"
        try:
            write(draft)
            with draft.open("rb+") as stream:
                os.fsync(stream.fileno())
            path = folder / f"{fragment.path.stem}.{kind}-{file_sum(draft)[:_DIGITS]}"
            return draft.rename(path)
        except BaseException as error:
            draft.unlink(missing_ok=True)
            if isinstance(error, FileNotFoundError) and not fragment.path.exists():
                raise FragmentGoneError(str(fragment.path)) from error
            raise


def mapped_table(fragment: Fragment, kind: str, build: Callable[[], pa.Table]) -> pa.Table:
    """A table, memory-mapped from the fragment's sidecar, which is made if need be.

    Where it cannot be written, a `SidecarWarning` says so and the table is held in memory.
    """
    path = find(fragment, kind)
    if path is None:
        table = build()
        try:
            path = make(fragment, kind, lambda draft: _write(draft, table))
        except OSError as error:
            warnings.warn(
                f"{error}; searches of this process hold {table.nbytes >> 20} MiB in memory",
                SidecarWarning,
                stacklevel=2,
            )
            return table
    with contextlib.suppress(FileNotFoundError):
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    return build()  # compaction removed it this moment


def _intact(path: Path) -> bool:
    try:
        if file_sum(path)[:_DIGITS] == path.name.rpartition("-")[2]:
            return True
        path.unlink()
    except OSError:  # removed by another process meanwhile, or in a folder that is not ours
        pass
    return False


def _drop_drafts(folder: Path) -> None:
    for path in folder.glob("*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()


def _write(path: Path, table: pa.Table) -> None:
    batches = table.to_batches()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
