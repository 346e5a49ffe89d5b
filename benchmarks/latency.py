"""`scripts/benchmark_latency.py`: how fast a user's own model is, and how near the machine's limit.

It runs in every compute type that the processor has, and beside each stands its floor: the products
alone, by the fastest way that the package knows. All take turns in one process.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.case import WrongResultError
from benchmarks.claims import Cell
from benchmarks.latency_towers import Tower, reference, towers
from benchmarks.measure import interleave, timed
from benchmarks.recording import recording
from benchmarks.results import Json, Section, to_json, write
from benchmarks.runtimes.works import Run
from benchmarks.tables import sections_markdown
from llm_compression import WeightLoader
from llm_compression.cli.outputs import keep_inputs
from llm_compression.errors import InputError, LLMCompressionError
from llm_compression.inference import kernels
from llm_compression.spec.names import COMPUTE_DTYPES
from llm_compression.validation.compare import compare_tap
from llm_compression.validation.tolerance import tolerance_of

_REFERENCE = "transformers, float32"
_EXACT = "float32"
_UNITS = {"latency": "ms", "throughput": "/s", "floor": "ms", "share of the floor": "share"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status is 1 for results that differ, 2 for bad input."""
    chosen = _options(arguments)
    try:
        _check(chosen)
        stored = _measure(chosen)
        if chosen.json:
            write(chosen.json, **stored)
    except WrongResultError as error:
        return _fail(error, 1)
    except (LLMCompressionError, OSError) as error:
        return _fail(error, 2)
    print(sections_markdown(stored))
    return 0


def kinds() -> list[str]:
    """The compute types for which the processor has products."""
    there = {
        "float32": True,
        "bfloat16": kernels.can_pack(torch.bfloat16),
        "int8": kernels.can_int8(),
    }
    return [kind for kind, runs in there.items() if runs]


def _measure(chosen: argparse.Namespace) -> Json:
    loader = WeightLoader(chosen.model)
    model = reference(loader, chosen.reference) if chosen.reference else None
    found = list(towers(loader.spec, chosen.tokens))
    with recording(("numpy", "torch", *(["transformers"] if model else []))) as record:
        sections = [to_json(_section(tower, loader, chosen, model)) for tower in found]
    run = {"model": str(chosen.model), "quick": False, "only": None}
    run["minutes"] = record.minutes
    return {"machine": record.machine, "run": run, "sections": sections}


def _section(tower: Tower, loader: WeightLoader, chosen: argparse.Namespace, model: Any) -> Section:
    runs = {kind: tower.open(loader.table.path, kind) for kind in chosen.compute_dtype or kinds()}
    if model is not None:
        runs[_REFERENCE] = tower.refer(model)
    samples: dict[Cell, list[float]] = {}
    checks = []
    for count in chosen.batch_sizes:
        given = tower.inputs(count)
        if model is not None:
            checks.append(_agree(runs, given, count, loader, tower))
        samples |= _times(tower, runs, given, count, chosen.rounds)
        print(f"{tower.name}, {count} at a time: measured", file=sys.stderr, flush=True)
    return Section(
        name=tower.name,
        title=f"Latency: {tower.name}",
        note="Rows say how many run at once, and in which type. The floor is the time of the "
        "products alone, each in turn by the fastest way that torch has here; its share is its "
        "time over the latency, more than 1 where the core's own products are faster.",
        units=_UNITS,
        samples=samples,
        checks=checks,
    )


def _times(
    tower: Tower, runs: dict[str, Run], given: Any, count: int, rounds: int
) -> dict[Cell, list[float]]:
    """Every type and its floor in turn."""
    contestants: dict[tuple[str, bool], Callable[[], float]] = {}
    for name, run in runs.items():
        contestants[name, False] = partial(timed, partial(run, given))
        if name != _REFERENCE:
            contestants[name, True] = partial(timed, tower.floor(count, name))
    taken = interleave(contestants, rounds, warmup=2)
    return dict(_cells(taken, count))


def _cells(
    taken: dict[tuple[str, bool], list[float]], count: int
) -> Iterator[tuple[Cell, list[float]]]:
    for (name, is_floor), seconds in taken.items():
        row = f"{count}, {name}"
        if is_floor:
            yield (row, "floor"), [1e3 * s for s in seconds]
            pairs = zip(seconds, taken[name, False], strict=True)
            yield (row, "share of the floor"), [floor / s for floor, s in pairs]
        else:
            yield (row, "latency"), [1e3 * s for s in seconds]
            yield (row, "throughput"), [count / s for s in seconds]


def _agree(runs: dict[str, Run], given: Any, count: int, loader: WeightLoader, tower: Tower) -> str:
    """That embeddings in float32 are those of transformers, within the bounds of validation."""
    run = runs[_EXACT] if _EXACT in runs else tower.open(loader.table.path, _EXACT)
    bounds = tolerance_of(loader.spec.family, _EXACT)
    found = compare_tap("embedding", np.asarray(run(given)), runs[_REFERENCE](given), bounds)
    if not found.passed:
        raise WrongResultError(
            f"embeddings of {count} {tower.name} are not those of transformers: cosine "
            f"{found.cosine_min:.6f}, off by {found.absolute:.2g}; is it the same checkpoint?"
        )
    return f"{count} embeddings are those of transformers ({bounds})"


def _check(chosen: argparse.Namespace) -> None:
    """Refuse what cannot be measured before anything is."""
    keep_inputs(chosen.json, chosen.model)
    if chosen.json and chosen.json.is_dir():
        raise InputError(f"--json {chosen.json} is a folder; name a file")
    for name in ("rounds", "batch_sizes"):
        least = int(np.min(getattr(chosen, name)))
        if least < 1:
            raise InputError(f"--{name.replace('_', '-')} is {least}; it must be at least 1")
    for kind in chosen.compute_dtype or ():
        if kind not in kinds():
            raise InputError(f"this processor has no products of {kind}, only {', '.join(kinds())}")


def _fail(error: object, status: int) -> int:
    print(f"benchmark_latency: error: {error}", file=sys.stderr)
    return status


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark_latency.py",
        description="Measure the latency of a weight table beside the floor of its products.",
    )
    parser.add_argument("model", type=Path, help="weight table, or a folder with model.parquet")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32], metavar="N")
    parser.add_argument("--tokens", type=int, default=32, help="of each text; default: 32")
    parser.add_argument("--rounds", type=int, default=15, help="runs of each; default: 15")
    parser.add_argument(
        "--compute-dtype",
        nargs="+",
        choices=COMPUTE_DTYPES,
        help="types to compute in; default: all that the processor has",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures there as well")
    parser.add_argument(
        "--reference",
        metavar="CHECKPOINT",
        help="time transformers too, on this folder or hub id, and compare the embeddings",
    )
    return parser.parse_args(arguments)
