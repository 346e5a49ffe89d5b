"""Whether a store notices that one bit of its largest file is another."""

from pathlib import Path

import numpy as np

from benchmarks.claims import Cell
from benchmarks.results import Section
from benchmarks.store_kinds import KINDS, rows_table

_ROWS = 2000
_PLACES = np.linspace(0.1, 0.9, 9)
_OUTCOMES = ("refused", "wrong vectors", "right vectors")


def flipped_bits(rows: np.ndarray, folder: Path) -> Section:
    """What becomes of a read of all rows, for a bit in each of nine places."""
    samples: dict[Cell, list[float]] = {}
    for kind in KINDS:
        found = [
            _outcome(kind, rows[:_ROWS], folder / f"bit-{kind}-{at:.1f}", at) for at in _PLACES
        ]
        samples |= {(kind, outcome): [float(found.count(outcome))] for outcome in _OUTCOMES}
    return Section(
        name="bits",
        title="One flipped bit",
        note=f"{_ROWS:,} rows; one bit of the largest file flipped, at a tenth to nine tenths of "
        "its length; then all rows read. *wrong vectors*: without an error.",
        units=dict.fromkeys(_OUTCOMES, ""),
        samples=samples,
    )


def _outcome(kind: str, rows: np.ndarray, home: Path, place: float) -> str:
    home.mkdir()
    store = KINDS[kind](home)
    store.append(rows_table(0, rows))
    store.compact()
    del store
    _flip(max(home.rglob("*"), key=lambda path: path.stat().st_size), place)
    try:
        table = KINDS[kind](home).read().sort_by("id")
    except Exception:
        return "refused"
    flat = table["embedding"].combine_chunks().flatten().to_numpy()
    return "right vectors" if np.array_equal(flat, rows.reshape(-1)) else "wrong vectors"


def _flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 0x10
    path.write_bytes(data)
