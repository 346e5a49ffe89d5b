"""`python -m benchmarks.plot`: a stored run as one picture beside its file."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.drawing import INK, OURS, QUIET, draw_beside, short
from benchmarks.results import STANDARD, Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

_OTHER = "#ced4da"
_OUR_NAMES = ("llm_compression", "import llm_compression", "WeightLoader", "weight table", "rows ")
_BAR, _GAP = 0.8, 0.55  # of one bar's slot; slots between the groups of a panel


@dataclass(frozen=True)
class Panel:
    """The bars of one section: its rows in some of its columns, in units of ``scale``."""

    section: str
    columns: tuple[str, ...]
    title: str
    scale: float = 1.0
    logarithmic: bool = False


@dataclass(frozen=True)
class Bar:
    """One bar at height ``place``, with the quartiles of what it shows."""

    place: float
    label: str
    colour: str
    value: float
    low: float
    high: float


PANELS = (
    Panel("size", ("safetensors", "safetensors.zst", "weight table"), "Size on disk, MB", 1e-6),
    Panel("load", ("all cores",), "Decode all tensors, ms"),
    Panel("mapped", ("open every tensor",), "Open all tensors mapped, ms"),
    Panel("mapped", ("open and sum every value",), "Open mapped, read all, ms"),
    Panel("cold_start", ("process",), "Start, embed one sentence, exit, s"),
    Panel("cold_start", ("peak memory",), "Peak memory of that process, MiB"),
    Panel("embed", ("sentences",), "Sentences/s (longer is better)"),
    Panel("audio", ("1 s",), "Embed 1 s of sound, ms"),
    Panel("audio", ("30 s",), "Embed 30 s of sound, ms"),
    Panel("mel", ("30 s",), "Log-mel frames of 30 s, ms"),
)
MEMORY_PANELS = (
    Panel("search", ("one query",), "Find the 10 nearest, ms, logarithmic", logarithmic=True),
    Panel("append", ("1,000 rows",), "Store 1,000 rows for good, ms"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw a results file beside itself; gives the exit status."""
    return draw_beside("benchmarks.plot", STANDARD, draw, arguments)


def draw(stored: Json, path: Path) -> None:
    """The panels of a run of the standard benchmark, or of the memory's."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    of_memory = any(section["name"] == "search" for section in stored["sections"])
    panels = MEMORY_PANELS if of_memory else PANELS
    places = _memory_places(figure) if of_memory else _standard_places(figure)
    for panel, place in zip(panels, places, strict=True):
        _draw(figure.add_subplot(place), panel, list(_bars(stored, panel)))
    figure.suptitle(_heading(stored), x=0.01, ha="left", color=QUIET, fontsize=9)
    figure.savefig(path, dpi=110)


def _standard_places(figure: "Figure") -> list["SubplotSpec"]:
    """Sizes beside loading; below them cold start beside its memory; throughput and sounds last."""
    figure.set_size_inches(11, 10.5)
    grid = figure.add_gridspec(4, 2, height_ratios=[10, 7, 3, 3])
    loading = grid[0, 1].subgridspec(3, 1, height_ratios=[4, 3, 3])
    return [
        *(grid[0, 0], loading[0], loading[1], loading[2]),
        *(grid[row, column] for row in (1, 2, 3) for column in (0, 1)),
    ]


def _memory_places(figure: "Figure") -> list["SubplotSpec"]:
    """Search beside storing."""
    figure.set_size_inches(11, 4)
    grid = figure.add_gridspec(1, 2)
    return [grid[0], grid[1]]


def _bars(stored: Json, panel: Panel) -> Iterator[Bar]:
    section = next(s for s in stored["sections"] if s["name"] == panel.section)
    place = 0.0
    for row in section["rows"]:
        for column in (c for c in panel.columns if c in row["figures"]):
            grouped = len(panel.columns) > 1
            cell = row["figures"][column]
            value, low, high = (cell[key] * panel.scale for key in ("median", "low", "high"))
            label = f"{row['name']}, {column}" if grouped else row["name"]
            colour = _colour(column if grouped else row["name"])
            yield Bar(place, label, colour, value, low, high)
            place += 1
        place += _GAP if len(panel.columns) > 1 else 0


def _colour(name: str) -> str:
    return OURS if name.startswith(_OUR_NAMES) else _OTHER


def _draw(axes: "Axes", panel: Panel, bars: Sequence[Bar]) -> None:
    places, values = [bar.place for bar in bars], [bar.value for bar in bars]
    axes.barh(places, values, _BAR, color=[bar.colour for bar in bars])
    axes.set_yticks(places, [bar.label for bar in bars])
    axes.set_title(panel.title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    longest = max(bar.high for bar in bars)
    if panel.logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(min(bar.low for bar in bars) / 2, longest * 5)
    else:
        axes.set_xlim(0, longest * 1.2)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    for bar in bars:
        axes.plot([bar.low, bar.high], [bar.place] * 2, color=INK, linewidth=1)
        axes.text(bar.high, bar.place, f"  {short(bar.value)}", va="center")


def _heading(stored: Json) -> str:
    machine = stored["machine"]
    return (
        f"{stored['run']['model']} on {machine['cores']} cores of {machine['cpu']}, "
        f"torch {machine['libraries']['torch']}, commit {(machine['commit'] or 'unknown')[:12]}. "
        "Shorter bars are better; lines are quartiles."
    )


if __name__ == "__main__":
    sys.exit(main())
