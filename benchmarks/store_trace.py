"""What a commit of each store asks of the kernel, seen by strace.

`python -m benchmarks.store_trace KIND FOLDER DATA` is the program that is watched.
"""

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from benchmarks.claims import Cell
from benchmarks.machine import ROOT
from benchmarks.results import Section
from benchmarks.store_kinds import KINDS, rows_table

_CALLS = {
    "fsync": "syncs",
    "fdatasync": "syncs",
    "sync_file_range": "syncs",
    "msync": "syncs",
    "syncfs": "syncs",
    "rename": "renames and links",
    "renameat": "renames and links",
    "renameat2": "renames and links",
    "link": "renames and links",
    "linkat": "renames and links",
    "openat": "files opened to write",
}
_COLUMNS = list(dict.fromkeys(_CALLS.values()))
_STEPS = ("append", "delete")
_ROWS = 1000
_MARK = "/no-such-file-"


def trace(rows: np.ndarray, folder: Path) -> Section:
    """Counts of one append to a store that has rows already, and of one delete.

    Raises:
        FileNotFoundError: strace is not installed.
    """
    if not shutil.which("strace"):
        raise FileNotFoundError("strace is not installed, and shows what is synced: install it")
    np.save(folder / "rows.npy", rows[: 2 * _ROWS])
    samples: dict[Cell, list[float]] = {}
    synced = []
    for kind in KINDS:
        for step, lines in _traced(kind, folder):
            counts = Counter(filter(None, map(_column, lines)))
            samples |= {(f"{kind}, {step}", c): [float(counts[c])] for c in _COLUMNS}
            names = sorted(filter(None, map(_synced, lines)))
            synced.append(f"{kind}, {step}: syncs {', '.join(names) or 'nothing'}")
    return Section(
        name="commit",
        title="What a commit asks of the disk",
        note=f"Calls of the kernel during one append of {_ROWS:,} rows and during one delete, by "
        "strace. A store without a sync in a commit can lose it with the power.",
        units=dict.fromkeys(_COLUMNS, ""),
        samples=samples,
        checks=synced,
    )


def _traced(kind: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each step and its lines of strace."""
    home, log = folder / f"traced-{kind}", folder / "strace.txt"
    home.mkdir()
    command = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={','.join(_CALLS)}"]
    program = [sys.executable, "-m", "benchmarks.store_trace", kind, str(home), str(folder)]
    subprocess.run([*command, *program], cwd=ROOT, check=True, capture_output=True)
    lines = log.read_text().splitlines()
    for step in _STEPS:
        start, end = (i for i, line in enumerate(lines) if f"{_MARK}{step}" in line)
        yield step, lines[start + 1 : end]


def _column(line: str) -> str | None:
    """What a line of strace counts as; none for a call that failed or only reads."""
    call = re.search(r"^\d+ +(\w+)\(", line)
    if not call or " = -1 " in line:
        return None
    if call[1] == "openat" and not re.search("O_WRONLY|O_RDWR", line):
        return None
    return _CALLS[call[1]]


def _synced(line: str) -> str | None:
    """What a line of strace syncs: a file by its suffix, or a folder."""
    call = re.search(r"^\d+ +(?:fsync|fdatasync|msync|syncfs)\(\d+<([^>]+)>", line)
    if not call:
        return None
    return Path(call[1]).suffix or "its folder"


def _watched(kind: str, folder: Path, data: Path) -> None:
    rows = np.load(data / "rows.npy")
    store = KINDS[kind](folder)
    store.append(rows_table(0, rows[:_ROWS]))
    with _marked("append"):
        store.append(rows_table(_ROWS, rows[_ROWS:]))
    with _marked("delete"):
        store.delete(5)


@contextmanager
def _marked(step: str) -> Iterator[None]:
    _mark(step)
    yield
    _mark(step)


def _mark(step: str) -> None:
    """An open that fails, for the reader of the trace."""
    with suppress(FileNotFoundError):
        Path(f"{_MARK}{step}").read_bytes()


if __name__ == "__main__":
    _watched(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
