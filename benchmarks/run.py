"""`python -m benchmarks.run`: measure a model, print the tables, store the results."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import audio, cold_start, digits, embed, load, parity, size
from benchmarks.case import MINILM, Case
from benchmarks.recording import recording
from benchmarks.results import FOLDER, STANDARD, Section, to_json, write
from benchmarks.tables import sections_markdown
from llm_compression import convert

Benchmark = Callable[[Case], list[Section]]
OF_TEXTS: dict[str, Benchmark] = {
    "size": size.measure,
    "load": load.measure,
    "cold_start": cold_start.measure,
    "embed": embed.measure,
    "parity": parity.measure,
}
OF_SOUNDS: dict[str, Benchmark] = {"audio": audio.measure, "digits": digits.measure}
BENCHMARKS = OF_TEXTS | OF_SOUNDS


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks that the arguments name and store one results file."""
    chosen = options(arguments)
    with recording() as record, _case(chosen.model, quick=chosen.quick) as case:
        sections = list(_sections(_names(chosen), case))
    run = {"model": chosen.model.name, "quick": chosen.quick, "only": chosen.only}
    run["minutes"] = record.minutes
    stored = write(chosen.output or output(chosen), record.machine, run, sections)
    print(sections_markdown(stored))


def _sections(names: Sequence[str], case: Case) -> Iterator[dict[str, Any]]:
    for name in names:
        yield from map(to_json, BENCHMARKS[name](case))
        print(f"{name}: measured", file=sys.stderr, flush=True)


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments, parsed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds and tables, under two minutes"
    )
    parser.add_argument("--only", choices=BENCHMARKS, help="one benchmark instead of all")
    parser.add_argument("--model", type=Path, default=MINILM, help="the checkpoint's folder")
    parser.add_argument("--output", type=Path, help="results file")
    return parser.parse_args(arguments)


def output(chosen: argparse.Namespace) -> Path:
    """The standard file for a whole run of the standard model; a part never replaces it."""
    parts = [chosen.only or "", "quick" if chosen.quick else ""]
    suffix = "".join(f".{part}" for part in parts if part)
    name = STANDARD.stem if chosen.model == MINILM else chosen.model.name
    return FOLDER / f"{name}{suffix}.json"


def _names(chosen: argparse.Namespace) -> list[str]:
    """One benchmark, or all; those of sounds have a model of their own, Whisper's encoder.

    The quick form leaves out the digits, of which a few say nothing.
    """
    if chosen.only:
        return [chosen.only]
    names = BENCHMARKS if chosen.model == MINILM else OF_TEXTS
    return [name for name in names if not (chosen.quick and name == "digits")]


@contextmanager
def _case(checkpoint: Path, *, quick: bool) -> Iterator[Case]:
    """The model converted into a temporary folder, which also holds the package's cache."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        os.environ["LLM_COMPRESSION_CACHE"] = str(folder / "cache")
        table = convert(checkpoint, folder / "model.parquet").path
        yield Case(checkpoint, table, folder, quick=quick)


if __name__ == "__main__":
    main()
