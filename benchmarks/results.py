"""Results: sections of figures and verdicts, and the JSON file that holds them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.claims import Cell, Claim, Samples, Verdict, judge, noisy_cells
from benchmarks.measure import Figure, summarise

FOLDER = Path(__file__).parent / "results"
STANDARD = FOLDER / "bench.json"
Json = dict[str, Any]


class ResultsError(Exception):
    """A file that holds no stored run."""


@dataclass(frozen=True)
class Section:
    """One question's answer: a table, the claims that rest on it, and what was checked.

    Args:
        name: short and stable; plots find the section by it.
        title: the table's heading.
        note: how it was measured, a sentence or two.
        units: unit of each column, in the table's order.
        samples: by row and column; rows appear in this order.
        claims: judged from ``samples``.
        checks: what the run compared and found equal.
    """

    name: str
    title: str
    note: str
    units: Mapping[str, str]
    samples: Samples
    claims: Sequence[Claim] = ()
    checks: Sequence[str] = ()


def to_json(section: Section) -> Json:
    """The section as plain values, every claim judged."""
    figures = {
        cell: summarise(values, section.units[cell[1]]) for cell, values in section.samples.items()
    }
    verdicts = [judge(claim, section.samples) for claim in section.claims]
    return {
        "name": section.name,
        "title": section.title,
        "note": section.note,
        "columns": list(section.units),
        "rows": _rows(figures, noisy_cells(verdicts, figures)),
        "claims": [_verdict(verdict) for verdict in verdicts],
        "checks": list(section.checks),
    }


def write(path: Path, machine: Json, run: Json, sections: Iterable[Json]) -> Json:
    """Store one run at ``path`` as readable JSON with sorted keys."""
    stored = {"machine": machine, "run": run, "sections": list(sections)}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(stored, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return stored


def read(path: Path) -> Json:
    """A stored run.

    Raises:
        ResultsError: the file holds none.
        OSError: it cannot be read.
    """
    try:
        stored: Json = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not even text
        raise ResultsError(f"{path} is no stored run: {error}") from error
    if not isinstance(stored, dict) or not {"machine", "run", "sections"} <= stored.keys():
        raise ResultsError(f"{path} is no stored run: it has no machine, run and sections")
    return stored


@contextmanager
def shown(path: Path) -> Iterator[None]:
    """Inside, the run at ``path`` is made into tables or pictures.

    Raises:
        ResultsError: it is the run of something else, or has been changed.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ResultsError(f"{path} is no run that can be shown so: {error!r}") from error


def figure_json(figure: Figure) -> Json:
    """A figure as plain values, rounded to six digits."""
    plain = {
        "median": figure.median,
        "low": figure.low,
        "high": figure.high,
        "smallest": figure.smallest,
        "largest": figure.largest,
        "spread": figure.spread,
    }
    return {
        "unit": figure.unit,
        "runs": figure.runs,
        **{name: _rounded(value) for name, value in plain.items()},
    }


def _rows(figures: Mapping[Cell, Figure], noisy: set[Cell]) -> list[Json]:
    rows: dict[str, Json] = {}
    for (row, column), figure in figures.items():
        cells = rows.setdefault(row, {"name": row, "figures": {}})["figures"]
        cells[column] = {**figure_json(figure), "noisy": (row, column) in noisy}
    return list(rows.values())


def _verdict(verdict: Verdict) -> Json:
    return {
        "text": verdict.claim.text,
        "target": verdict.claim.target,
        "value": figure_json(verdict.value),
        "met": verdict.met,
        "margin": _rounded(verdict.margin),
        "noisy": verdict.noisy,
    }


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.6g}")
