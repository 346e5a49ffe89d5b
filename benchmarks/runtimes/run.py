"""`python -m benchmarks.runtimes.run`: every workload in every runtime, side by side.

Needs the extra `bench-runtimes`, and for the backends of sentence-transformers an environment of
their own. Processes take turns, so that a round's ratios are of one moment.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import cold_start
from benchmarks.case import MINILM, Case
from benchmarks.recording import recording
from benchmarks.results import FOLDER, Section, to_json, write
from benchmarks.runtimes.elsewhere import DEFAULT, Elsewhere
from benchmarks.runtimes.prepare import prepare
from benchmarks.runtimes.section import measure
from benchmarks.runtimes.works import OPENING, WORKS
from benchmarks.tables import sections_markdown

LIBRARIES = ("numpy", "onnxruntime", "openvino", "sentence-transformers", "torch", "transformers")
COLD = "Cold start"
QUICK = ("MiniLM 1x128", "Captions", OPENING.name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and store one results file."""
    chosen = _options(arguments)
    names = chosen.only or (QUICK if chosen.quick else [*WORKS, COLD])
    elsewhere = _elsewhere(chosen.st_python)
    with (
        recording(LIBRARIES) as record,
        tempfile.TemporaryDirectory(prefix="runtimes-") as name,
    ):
        # a cold start needs what opening a model does
        works = [OPENING if name == COLD else WORKS[name] for name in names]
        what = prepare(Path(name), works, quick=chosen.quick)
        sections = list(_sections(names, Path(name), what, elsewhere, quick=chosen.quick))
    run = {
        "model": ", ".join(sorted({what[work.model] for work in works})),
        "quick": chosen.quick,
        "only": chosen.only,
    }
    run["minutes"] = record.minutes
    suffix = ".quick" if chosen.quick or chosen.only else ""
    stored = write(FOLDER / f"runtimes{suffix}.json", record.machine, run, map(to_json, sections))
    print(sections_markdown(stored))


def _sections(
    names: Sequence[str],
    folder: Path,
    what: dict[str, str],
    elsewhere: Elsewhere | None,
    *,
    quick: bool,
) -> Iterator[Section]:
    for name in names:
        if name == COLD:
            table = folder / f"{OPENING.model}.parquet"
            yield from cold_start.measure(Case(MINILM, table, folder, quick=quick))
        else:
            yield measure(WORKS[name], folder, what, elsewhere, quick=quick)
        print(f"{name}: measured", file=sys.stderr, flush=True)


def _elsewhere(python: Path) -> Elsewhere | None:
    found = Elsewhere.find(python)
    if isinstance(found, Elsewhere):
        return found
    print(f"sentence-transformers' backends are left out: {found}", file=sys.stderr)
    return None


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes.run", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds of MiniLM alone, under two minutes"
    )
    names = [*WORKS, COLD]
    parser.add_argument(
        "--only",
        nargs="+",
        choices=names,
        metavar="WORKLOAD",
        help=f"some workloads instead of all: {', '.join(map(repr, names))}",
    )
    parser.add_argument(
        "--st-python",
        type=Path,
        default=DEFAULT,
        help="the Python that has sentence-transformers with its onnx and openvino backends",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
