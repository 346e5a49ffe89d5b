"""`python -m benchmarks.readme`: writes stored results into a document, or checks them."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.results import STANDARD, read
from benchmarks.tables import sections_markdown

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


class MarkersError(Exception):
    """The README does not have the two markers, once each and in order."""


def replaced(text: str, block: str) -> str:
    """``text`` with ``block`` as all that stands between the markers.

    Raises:
        MarkersError: the markers are missing, repeated or out of order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise MarkersError(f"needs {BEGIN} and then {END}, once each")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the block, or with ``--check`` only compare; gives the exit status."""
    options = _options(arguments)
    text = options.readme.read_text(encoding="utf-8")
    try:
        wanted = replaced(text, _block(options.results, options.readme))
    except MarkersError as error:
        print(f"{options.readme} {error}", file=sys.stderr)
        return 1
    if not options.check:
        options.readme.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        print(
            f"{options.readme} differs from {options.results}; run `python -m benchmarks.readme`",
            file=sys.stderr,
        )
        return 1
    return 0


def _block(results: Path, readme: Path) -> str:
    """The tables of a run, below its plot where it has one."""
    tables = sections_markdown(read(results))
    image = results.with_suffix(".png")
    if not image.exists():
        return tables
    link = Path(os.path.relpath(image, readme.parent)).as_posix()
    return f"![The figures below as bars]({link})\n\n{tables}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if it differs")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--results", type=Path, default=STANDARD)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
