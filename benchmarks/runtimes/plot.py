"""`python -m benchmarks.runtimes.plot`: the stored comparison as one picture beside its file."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.drawing import INK, OURS, QUIET, draw_beside, short
from benchmarks.results import FOLDER, Json
from benchmarks.runtimes.contests import FLOOR, NAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STANDARD = FOLDER / "runtimes.json"
_COLOURS = {
    NAME: OURS,
    "openvino": "#f59f00",
    "onnxruntime": "#4c6ef5",
    "transformers": QUIET,
    "sentence-transformers, torch": "#ced4da",
    "sentence-transformers, onnx": "#bac8ff",
    "sentence-transformers, openvino": "#ffe066",
}
_ACROSS, _WIDE, _HIGH = 2, 12.0, 2.9  # panels in a row; inches of a row
_BAR, _GAP = 0.84, 0.9  # of one bar's slot; slots between the types
_MOST = 2.6  # times the floor, where a bar is cut off


@dataclass(frozen=True)
class Bar:
    """One runtime's time in one type, over the floor's in it."""

    place: float
    runtime: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """The bars of one type, with what stands below them."""

    label: str
    bars: tuple[Bar, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw a results file beside itself; gives the exit status."""
    return draw_beside("benchmarks.runtimes.plot", STANDARD, draw, arguments)


def draw(stored: Json, path: Path) -> None:
    """A panel for each workload that has a floor."""
    from matplotlib.figure import Figure

    panels = [(section["title"], list(groups(section))) for section in stored["sections"]]
    panels = [(title, found) for title, found in panels if found]
    rows = -(-len(panels) // _ACROSS)
    figure = Figure(layout="constrained", figsize=(_WIDE, _HIGH * rows + 1.1))
    grid = figure.subplots(rows, _ACROSS, squeeze=False).flat
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, found) in zip(grid, panels, strict=False):
        _draw(axes, title, found)
    _legend(figure, {bar.runtime for _, found in panels for g in found for bar in g.bars})
    figure.suptitle(_heading(stored), x=0.01, ha="left", color=INK, fontsize=11)
    figure.savefig(path, dpi=110)


def groups(section: Json) -> Iterator[Group]:
    """The types of a workload in which there is a floor, which is 1."""
    rows = {row["name"]: row["figures"] for row in section["rows"]}
    place = 0.0
    for kind in (k for k in section["columns"] if k in rows.get(FLOOR, {})):
        floor = rows[FLOOR][kind]["median"]
        bars = []
        for name in (n for n in _COLOURS if kind in rows.get(n, {})):
            times = (rows[name][kind][key] / floor for key in ("median", "low", "high"))
            bars.append(Bar(place, name, *times))
            place += 1
        yield Group(f"{kind}\nfloor {short(floor)} ms", tuple(bars))
        place += _GAP


def _draw(axes: "Axes", title: str, found: Sequence[Group]) -> None:
    axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=INK)
    for bar in (bar for group in found for bar in group.bars):
        height = min(bar.value, _MOST)
        axes.bar(bar.place, height, _BAR, color=_COLOURS[bar.runtime])
        top = height
        if bar.value < _MOST:
            top = min(bar.high, _MOST)
            axes.plot([bar.place] * 2, [min(bar.low, _MOST), top], color=INK, linewidth=1)
        cut = "↑" if bar.value > _MOST else ""
        weight = "bold" if bar.runtime == NAME else "normal"
        axes.text(
            bar.place, top + 0.05, f"{bar.value:.2f}{cut}", ha="center", fontsize=9, weight=weight
        )
    axes.axhline(1, color=INK, linewidth=1, linestyle="--")
    middles = [(group.bars[0].place + group.bars[-1].place) / 2 for group in found]
    axes.set_xticks(middles, [group.label for group in found], fontsize=10, color=INK)
    axes.set_yticks([0, 1, 2], ["0", "floor", "2x"], fontsize=9, color=QUIET)
    axes.set_ylim(0, _MOST + 0.3)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _legend(figure: object, runtimes: set[str]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    assert isinstance(figure, Figure)
    handles: list[Patch | Line2D] = [
        Patch(color=colour, label=name) for name, colour in _COLOURS.items() if name in runtimes
    ]
    floor = "floor: the products alone, measured in the same run"
    handles.append(Line2D([], [], color=INK, linestyle="--", linewidth=1, label=floor))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=10.5
    )


def _heading(stored: Json) -> str:
    machine = stored["machine"]
    return (
        "Time over the floor of the same type (shorter is better); lines are quartiles.\n"
        f"{machine['cores']} cores of {machine['cpu']}, torch {machine['libraries']['torch']}, "
        f"commit {(machine['commit'] or 'unknown')[:12]}."
    )


if __name__ == "__main__":
    sys.exit(main())
