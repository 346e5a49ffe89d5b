"""The comparison in one table: our time over that of the best other runtime, and of the floor."""

from benchmarks.results import Json
from benchmarks.runtimes.contests import FLOOR, KINDS, NAME
from benchmarks.tables import machine_line, number_cell, table

_NOTE = (
    "Our time over the best other's at the same precision, on the same cores, in turns with it; "
    "what is below 1 is faster. The floor is the time of the model's matrix products alone."
)


def summary_markdown(stored: Json) -> str:
    """A row for each workload."""
    if not any(_compares(section) for section in stored["sections"]):
        raise ValueError("no section compares runtimes")
    head = ["", *(f"{kind}, best other" for kind in KINDS), "float32, floor"]
    rows = [
        [section["title"], *(_best(section, kind) for kind in KINDS), _floor(section)]
        for section in stored["sections"]
        if _compares(section)
    ]
    return f"{_NOTE}\n\n{table(head, rows)}\n\n{machine_line(stored)}"


def _compares(section: Json) -> bool:
    return set(section["columns"]) <= set(KINDS)


def _best(section: Json, kind: str) -> str:
    """The ratio to whichever of the others has the lowest median."""
    medians = {
        row["name"]: row["figures"][kind]["median"]
        for row in section["rows"]
        if kind in row["figures"] and row["name"] not in (NAME, FLOOR)
    }
    if not medians:
        return ""
    best = min(medians, key=lambda name: medians[name])
    return f"{_ratio(section, best, kind)} {best}"


def _floor(section: Json) -> str:
    there = any(row["name"] == FLOOR for row in section["rows"])
    return _ratio(section, FLOOR, KINDS[0]) if there else ""


def _ratio(section: Json, other: str, kind: str) -> str:
    """Of the claim about us and ``other``, which may stand there as the best of some."""
    ends = (f"/ {other}, {kind}", f"({other}), {kind}")
    claim = next(
        claim
        for claim in section["claims"]
        if claim["text"].startswith(f"{NAME} /") and claim["text"].endswith(ends)
    )
    return number_cell(claim["value"], noisy=claim["noisy"])
