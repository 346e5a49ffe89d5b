"""What the plots share: their inks, their numbers, and their command."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.results import Json, ResultsError, read, shown

OURS, INK, QUIET = "#0b7285", "#212529", "#868e96"


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw_beside(
    prog: str,
    standard: Path,
    draw: Callable[[Json, Path], None],
    arguments: Sequence[str] | None,
) -> int:
    """Draw the results file that is asked for, by default ``standard``, beside itself.

    Gives the exit status.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {prog}", description="Draw a stored run as one picture beside its file."
    )
    parser.add_argument("--results", type=Path, default=standard)
    results: Path = parser.parse_args(arguments).results
    try:
        with shown(results):
            draw(read(results), results.with_suffix(".png"))
    except (ResultsError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 1
    return 0
