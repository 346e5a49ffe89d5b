"""`python -m benchmarks.decide NAME --data FOLDER`: measures what a decision rests on.

The decisions are in docs/decisions/; the libraries that they weigh are in the extra `bench-stores`.
"""

import argparse
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.recording import recording
from benchmarks.results import FOLDER, to_json, write
from benchmarks.tables import sections_markdown

NAMES = ("vector_layout", "ann", "stores", "memory")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one benchmark and store its results file."""
    chosen = _options(arguments)
    module = import_module(f"benchmarks.{chosen.name}")
    with (
        recording(module.LIBRARIES) as record,
        tempfile.TemporaryDirectory(prefix="decide-", dir=chosen.scratch) as folder,
    ):
        sections = module.measure(chosen.data, Path(folder), quick=chosen.quick)
    run = {"model": "vectors of COCO captions", "quick": chosen.quick, "only": None}
    run["minutes"] = record.minutes
    stored = write(_output(chosen), record.machine, run, map(to_json, sections))
    print(sections_markdown(stored))


def _output(chosen: argparse.Namespace) -> Path:
    return FOLDER / f"{chosen.name}{'.quick' if chosen.quick else ''}.json"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decide", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--data", type=Path, required=True, help="where the vectors are kept")
    parser.add_argument("--scratch", type=Path, help="where files are measured; a real disk")
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
