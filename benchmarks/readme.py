"""`python -m benchmarks.readme`: writes stored results into a document, or checks them."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.results import FOLDER, STANDARD, Json, ResultsError, read, shown
from benchmarks.runtimes.summary import summary_markdown
from benchmarks.tables import sections_markdown

TABLES, SUMMARY, PROFILE, RETRIEVAL = "bench", "runtimes", "profile", "retrieval"
_WRITERS: Mapping[str, Callable[[Json], str]] = {
    TABLES: sections_markdown,
    SUMMARY: summary_markdown,
    PROFILE: sections_markdown,
    RETRIEVAL: sections_markdown,
}


class MarkersError(Exception):
    """The README does not have the two markers, once each and in order."""


_RESULTS = {
    TABLES: STANDARD,
    SUMMARY: FOLDER / "runtimes.json",
    PROFILE: FOLDER / "profile.json",
    RETRIEVAL: FOLDER / "retrieval.json",
}


def markers(name: str) -> tuple[str, str]:
    """What stands before and behind the block of that name."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def replaced(text: str, block: str, name: str = TABLES) -> str:
    """``text`` with ``block`` as all that stands between the markers of ``name``.

    Raises:
        MarkersError: the markers are missing, repeated or out of order.
    """
    first, last = markers(name)
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end or first in rest or last in before + after:
        raise MarkersError(f"needs {first} and then {last}, once each")
    return f"{before}{first}\n{block}\n{last}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the block, or with ``--check`` only compare; gives the exit status."""
    options = _options(arguments)
    try:
        text = options.readme.read_text(encoding="utf-8")
        wanted = replaced(text, _block(options), options.block)
    except MarkersError as error:
        print(f"{options.readme} {error}", file=sys.stderr)
        return 1
    except (ResultsError, OSError, UnicodeDecodeError) as error:
        print(error, file=sys.stderr)
        return 1
    if not options.check:
        options.readme.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        command = f"--block {options.block} --results {options.results} --readme {options.readme}"
        print(
            f"{options.readme} differs from {options.results}; run "
            f"`python -m benchmarks.readme {command}`",
            file=sys.stderr,
        )
        return 1
    return 0


def _block(options: argparse.Namespace) -> str:
    """What is shown of a run, below its plot where it has one."""
    with shown(options.results):
        tables = _WRITERS[options.block](read(options.results))
    image = options.results.with_suffix(".png")
    if not image.exists():
        return tables
    link = Path(os.path.relpath(image, options.readme.parent)).as_posix()
    return f"![The figures below as bars]({link})\n\n{tables}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if it differs")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--results", type=Path, help="the stored run, by default the block's own")
    parser.add_argument(
        "--block",
        choices=_WRITERS,
        default=TABLES,
        help="the tables of a benchmark, or one that sums up runtimes",
    )
    options = parser.parse_args(arguments)
    options.results = options.results or _RESULTS[options.block]
    return options


if __name__ == "__main__":
    sys.exit(main())
