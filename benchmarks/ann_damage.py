"""What a library does with a damaged index file, each file opened in a process of its own.

`python -m benchmarks.ann_damage LIBRARY FILE QUERIES` opens one and searches it.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.ann_indexes import Search, faiss, usearch
from benchmarks.machine import ROOT
from benchmarks.results import Section

_COPIES = 15
_PAGE = 4096
_LIBRARIES = {"usearch": usearch("bf16"), "faiss": faiss("HNSW16")}
_REFUSED = 3
_SECONDS = 60


def damage(rows: np.ndarray, queries: np.ndarray, folder: Path) -> Section:
    """Counts of what became of damaged copies of a sound file."""
    np.save(folder / "rows.npy", rows)
    np.save(folder / "damage-queries.npy", queries)
    samples = {}
    for library, contestant in _LIBRARIES.items():
        home = folder / f"damage-{library}"
        home.mkdir()
        contestant.build(rows, home)
        for kind, harm in _HARMS.items():
            for outcome, count in _outcomes(library, home, harm).items():
                samples[f"{library}, {kind}", outcome] = [float(count)]
    return Section(
        name="damage",
        title="Damaged files",
        note=f"{_COPIES} damaged copies of each kind of an index of {len(rows):,} rows, opened "
        "and asked in a process each. *died*: by a signal, or hung for a minute. *answered*: as "
        "if nothing were wrong.",
        units=dict.fromkeys(["refused", "died", "answered"], ""),
        samples=samples,
    )


def _outcomes(
    library: str, home: Path, harm: Callable[[bytearray, np.random.Generator], bytearray]
) -> Mapping[str, int]:
    (path,) = home.iterdir()
    sound = path.read_bytes()
    counts = Counter({"refused": 0, "died": 0, "answered": 0})
    for seed in range(_COPIES):
        path.write_bytes(harm(bytearray(sound), np.random.default_rng(seed)))
        counts[_outcome(library, home)] += 1
    path.write_bytes(sound)
    if _outcome(library, home) != "answered":
        raise AssertionError(f"{library} does not answer from a sound file")
    return counts


def _outcome(library: str, home: Path) -> str:
    command = [sys.executable, "-m", "benchmarks.ann_damage", library, str(home)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "died"
    return {0: "answered", _REFUSED: "refused"}.get(done.returncode, "died")


def _cut(data: bytearray, generator: np.random.Generator) -> bytearray:
    return data[: int(generator.integers(len(data)))]


def _zeroed(data: bytearray, generator: np.random.Generator) -> bytearray:
    page = int(generator.integers(len(data) // _PAGE)) * _PAGE
    data[page : page + _PAGE] = bytes(_PAGE)
    return data


def _flipped(data: bytearray, generator: np.random.Generator) -> bytearray:
    for place in generator.integers(len(data), size=64):
        data[place] ^= 1 << int(generator.integers(8))
    return data


_HARMS = {"cut short": _cut, "a page zeroed": _zeroed, "64 bits flipped": _flipped}


def _open_and_ask(library: str, home: Path) -> int:
    """Exit status: 0 if it answered, 3 if the library raised an error."""
    rows = np.load(home.parent / "rows.npy", mmap_mode="r")
    queries = np.load(home.parent / "damage-queries.npy")
    try:
        search: Search = _LIBRARIES[library].open(home, rows)
        for query in queries:
            search(query, 64)
    except Exception:
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_open_and_ask(sys.argv[1], Path(sys.argv[2])))
