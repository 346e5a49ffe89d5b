"""`python -m benchmarks.runtimes.run`: every workload in every runtime, side by side.

Needs the extra `bench-runtimes`. Processes take turns, so that a round's ratios are of one moment.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.case import WrongResultError
from benchmarks.claims import Cell, Claim
from benchmarks.machine import describe, float32_floor
from benchmarks.measure import interleave
from benchmarks.results import FOLDER, Json, Section, figure_json, to_json, write
from benchmarks.runtimes.prepare import prepare
from benchmarks.runtimes.process import Worker
from benchmarks.runtimes.works import WORKS, Work
from benchmarks.tables import sections_markdown

OURS = "ours"
# of each type, who computes in it; the bound is on 1 - cosine to ours in float32
RUNTIMES = {
    "float32": ((OURS, "openvino", "onnxruntime", "transformers"), 1e-5),
    "bfloat16": ((OURS, "openvino"), 5e-4),
    "int8": ((OURS, "onnxruntime"), None),  # whose own loss is large: it is stated
}
LIBRARIES = ("numpy", "onnxruntime", "openvino", "torch", "transformers")
Contestant = tuple[str, str]  # runtime and type


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and store one results file."""
    chosen = _options(arguments)
    started = time.time()
    machine: Json = describe(LIBRARIES)
    machine["float32_at_start"] = figure_json(float32_floor())
    works = [WORKS[name] for name in chosen.only or WORKS]
    with tempfile.TemporaryDirectory(prefix="runtimes-") as name:
        what = prepare(Path(name), {work.model for work in works})
        sections = [
            measure(work, Path(name), what[work.model], quick=chosen.quick) for work in works
        ]
    machine["float32_at_end"] = figure_json(float32_floor())
    run = {
        "model": ", ".join(sorted(set(what.values()))),
        "quick": chosen.quick,
        "only": chosen.only,
    }
    run["minutes"] = round((time.time() - started) / 60, 1)
    suffix = ".quick" if chosen.quick or chosen.only else ""
    stored = write(FOLDER / f"runtimes{suffix}.json", machine, run, map(to_json, sections))
    print(sections_markdown(stored))


def measure(work: Work, folder: Path, what: str, *, quick: bool) -> Section:
    """One workload in all runtimes and types."""
    contestants = [(name, kind) for kind, (names, _) in RUNTIMES.items() for name in names]
    workers = {(name, kind): Worker(name, kind, work.name, folder) for name, kind in contestants}
    try:
        runs = interleave(workers, 3 if quick else 15)
    finally:
        for worker in workers.values():
            worker.close()
    samples = {_cell(one): [1e3 * s for s in seconds] for one, seconds in runs.items()}
    return Section(
        name=work.name,
        title=f"{work.name}: one batch",
        note=f"{what}; from token ids, pixels or mel frames to embeddings, in processes that take "
        "turns, with the threads that each takes by default.",
        units=dict.fromkeys(RUNTIMES, "ms"),
        samples=samples,
        claims=[_claim(one) for one in contestants if one[0] != OURS],
        checks=[_check(work, folder, one) for one in contestants if one != (OURS, "float32")],
    )


def _cell(one: Contestant) -> Cell:
    name, kind = one
    return ("llm_compression" if name == OURS else name, kind)


def _claim(one: Contestant) -> Claim:
    name, kind = one
    return Claim(f"llm_compression / {name}, {kind}", _cell((OURS, kind)), _cell(one), 1.0)


def _check(work: Work, folder: Path, one: Contestant) -> str:
    """How near the embeddings are to ours in float32."""
    exact, found = (
        np.load(Worker.output(folder, *who, work.name)) for who in ((OURS, "float32"), one)
    )
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(found, axis=1)
    worst = float(1 - ((exact * found).sum(1) / lengths).min())
    bound = RUNTIMES[one[1]][1]
    if bound is not None and not worst <= bound:
        raise WrongResultError(f"{one} of {work.name} is off by {worst:.2g} of cosine")
    return f"cosine of {_cell(one)[0]}, {one[1]} to float32 at least {1 - worst:.6f}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", nargs="+", choices=WORKS, help="some workloads instead of all")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
