"""Claims: a ratio of two measurements, its target, and whether the noise allows a verdict."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measure import Figure, summarise

Cell = tuple[str, str]  # row and column of a table
Samples = Mapping[Cell, Sequence[float]]


@dataclass(frozen=True)
class Claim:
    """What is said of a cell: at most ``target`` times the baseline, or at most ``target``.

    Without a target the ratio is stated and nothing is promised.
    """

    text: str
    cell: Cell
    baseline: Cell | None = None
    target: float | None = None
    unit: str = "x"


@dataclass(frozen=True)
class Verdict:
    """A claim against the measurements.

    ``margin`` is the relative distance between value and target, or between ratio and 1 where
    there is no target. A claim whose spread exceeds its margin is ``noisy``: a run on a quieter
    machine may decide it the other way.
    """

    claim: Claim
    value: Figure
    met: bool | None
    margin: float
    noisy: bool


def judge(claim: Claim, samples: Samples) -> Verdict:
    """The verdict on one claim; a ratio is taken in each round, then its median."""
    values = list(samples[claim.cell])
    if claim.baseline:
        values = [a / b for a, b in zip(values, samples[claim.baseline], strict=True)]
    value = summarise(values, claim.unit)
    margin = abs(value.median / (claim.target or 1.0) - 1)
    met = None if claim.target is None else value.median <= claim.target
    return Verdict(claim, value, met, margin, noisy=value.spread > margin)


def noisy_cells(verdicts: Iterable[Verdict], figures: Mapping[Cell, Figure]) -> set[Cell]:
    """The cells whose own spread exceeds the margin of a claim that rests on them."""
    return {
        cell
        for verdict in verdicts
        for cell in (verdict.claim.cell, verdict.claim.baseline)
        if cell and figures[cell].spread > verdict.margin
    }
