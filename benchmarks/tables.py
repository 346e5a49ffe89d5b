"""Tables: a stored run as Markdown."""

from typing import Any

Json = dict[str, Any]
_NOISY = " ~"


def sections_markdown(stored: Json) -> str:
    """Every section as a heading, a table, its claims and its checks; the machine at the end."""
    parts = [_section(section) for section in stored["sections"]]
    end = f"{_run_line(stored['run'])}\n{machine_line(stored)}"
    return "\n\n".join([*parts, end])


def _section(section: Json) -> str:
    parts = [f"### {section['title']}", section["note"], _figures(section)]
    if section["claims"]:
        parts.append(_claims(section["claims"]))
    if section["checks"]:
        parts.append(f"Checked in the same run: {'; '.join(section['checks'])}.")
    return "\n\n".join(parts)


def _figures(section: Json) -> str:
    columns = section["columns"]
    rows = [
        [row["name"], *(_cell(row["figures"].get(column)) for column in columns)]
        for row in section["rows"]
    ]
    return table(["", *columns], rows)


def _claims(claims: list[Json]) -> str:
    rows = [
        [claim["text"], _value(claim["value"]), _target(claim), _verdict(claim)] for claim in claims
    ]
    return table(["claim", "measured", "target", "verdict"], rows)


def number_cell(figure: Json, *, noisy: bool) -> str:
    """The median alone."""
    number = _with_unit(_number(figure["median"], figure["unit"]), figure["unit"])
    return number + (_NOISY if noisy else "")


def _cell(figure: Json | None) -> str:
    return "" if figure is None else _value(figure) + (_NOISY if figure["noisy"] else "")


def _value(figure: Json) -> str:
    """The median, and the quartiles where there were several runs that differ."""
    unit = figure["unit"]
    median = _number(figure["median"], unit)
    if figure["low"] == figure["high"]:
        return _with_unit(median, unit)
    quartiles = f"({_number(figure['low'], unit)} to {_number(figure['high'], unit)})"
    return f"{_with_unit(median, unit)} {quartiles}"


def _number(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e6:.1f}"
    if unit == "x":
        return f"{value:.3f}"
    if unit == "error":
        return f"{value:.1e}" if value else "0"
    decimals = next((n for least, n in ((100, 0), (10, 1), (1, 2)) if value >= least), 3)
    return f"{value:,.{decimals}f}"


def _with_unit(number: str, unit: str) -> str:
    shown = {"bytes": " MB", "x": "x", "/s": "/s", "error": "", "share": ""}.get(unit, f" {unit}")
    return number + shown


def _target(claim: Json) -> str:
    if claim["target"] is None:
        return ""
    number = _with_unit(f"{claim['target']:g}", claim["value"]["unit"])
    return f"≤ {number}"


def _verdict(claim: Json) -> str:
    words = {True: "met", False: "**not met**", None: ""}[claim["met"]]
    return words + (_NOISY if claim["noisy"] else "")


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown, numbers to the right."""
    align = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, align, *rows])


def _run_line(run: Json) -> str:
    return (
        f"Medians with quartiles of one {'quick ' if run['quick'] else ''}run of "
        f"{run['minutes']:.0f} minutes on {run['model']}. "
        f"{_NOISY.strip()} marks what varied more than the margin of a claim that rests on it."
    )


def machine_line(stored: Json) -> str:
    """Where, with what and of which commit a run is."""
    machine = stored["machine"]
    start, end = (machine[f"float32_at_{when}"]["median"] for when in ("start", "end"))
    flags = ", ".join(machine["flags"])
    libraries = ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    core = "; compiled core" if machine.get("compiled") else ""  # older runs know of none
    commit = (machine["commit"] or "unknown")[:12] + (" with changes" if machine["dirty"] else "")
    return (
        f"Machine: {machine['cores']} cores of {machine['cpu']} ({flags}), "
        f"{machine['memory_gib']} GiB, {machine['system']}; float32 `torch.matmul` "
        f"{start:.0f} GFLOP/s before the run and {end:.0f} after, "
        f"load average {machine['load_average']:.1f} before. "
        f"Python {machine['python']}, {libraries}{core}; commit {commit}."
    )
