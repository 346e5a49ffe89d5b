"""How long a fresh process takes from its start to its first embedding, and how much memory."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.case import Case, check_embeddings
from benchmarks.claims import Cell, Claim
from benchmarks.measure import interleave
from benchmarks.process import Run, run_program
from benchmarks.results import Section
from llm_compression import WeightLoader

_PROCESS, _OPEN, _FIRST, _PEAK = "process", "import and open", "first embedding", "peak memory"
_UNITS = {_PROCESS: "s", _OPEN: "s", _FIRST: "s", _PEAK: "MiB"}
_SENTENCE = "A cat sits on a mat in the red park."
_PACKAGE, _MAPPED = "import llm_compression", "llm_compression, mapped copy"
_IMPORTS = {"python alone": "sys", "import torch": "torch", _PACKAGE: "llm_compression"}
_OTHERS = ("transformers", "sentence-transformers")
_IMPORT_TARGET = 0.1  # seconds
_RATIO_TARGETS = {("import torch", _PROCESS): 1.25, ("sentence-transformers", _PEAK): 0.7}


def measure(case: Case) -> list[Section]:
    """Fresh processes in turn: bare imports, and each library up to one embedding."""
    WeightLoader(case.table, mapped=True)  # the copy exists before any process starts
    contestants = {name: partial(_program, "import", module) for name, module in _IMPORTS.items()}
    contestants |= {
        name: partial(_program, "first", opener, model, _SENTENCE)
        for name, (opener, model) in _openers(case).items()
    }
    warmup = 0 if case.quick else 1
    runs = interleave(contestants, case.rounds(full=9, quick=2), warmup=warmup)
    return [
        Section(
            name="cold_start",
            title="Cold start: one process, one embedding",
            note="Wall time of a whole process, from its start to its exit, and its peak memory "
            "(VmHWM, mapped pages included); files in the page cache.",
            units=_UNITS,
            samples=_samples(runs),
            claims=_claims(),
            checks=[_check(runs, list(_openers(case)))],
        )
    ]


def _openers(case: Case) -> dict[str, tuple[str, Path]]:
    return {
        _MAPPED: ("mapped", case.table),
        "llm_compression, Parquet": ("decoded", case.table),
        "transformers": ("transformers", case.checkpoint),
        "sentence-transformers": ("sentence-transformers", case.checkpoint),
    }


def _program(*arguments: str | Path) -> Run:
    return run_program("benchmarks.programs", arguments)


def _samples(runs: Mapping[str, Sequence[Run]]) -> dict[Cell, list[float]]:
    samples: dict[Cell, list[float]] = {}
    for name, of_one in runs.items():
        samples[name, _PROCESS] = [run.seconds for run in of_one]
        if "first" in of_one[0].report:
            samples[name, _OPEN] = [run.report["open"] for run in of_one]
            samples[name, _FIRST] = [run.report["first"] for run in of_one]
        samples[name, _PEAK] = [run.peak_mib for run in of_one]
    return samples


def _claims() -> list[Claim]:
    ratios = [
        Claim(
            f"mapped / {other}, {column}",
            (_MAPPED, column),
            (other, column),
            _RATIO_TARGETS.get((other, column)),
        )
        for column in (_PROCESS, _PEAK)
        for other in (*_OTHERS, "import torch")
    ]
    own = Claim(f"{_PACKAGE}, whole process", (_PACKAGE, _PROCESS), None, _IMPORT_TARGET, "s")
    return [own, *ratios]


def _check(runs: Mapping[str, Sequence[Run]], names: Sequence[str]) -> str:
    embeddings = [np.array(run.report["embedding"]) for name in names for run in runs[name]]
    return check_embeddings(embeddings, "the embeddings of all processes")
