"""Contests: who runs each kind of workload beside us, and what is claimed of the two."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from benchmarks.claims import Cell, Claim, Samples
from benchmarks.runtimes.sentence_transformers import Backend
from benchmarks.runtimes.works import Form, Work

OURS, FLOOR, NAME = "ours", "floor", "llm_compression"
KINDS = ("float32", "bfloat16", "int8")
SENTENCE_TRANSFORMERS = "sentence_transformers"  # a backend stands behind it and a dash
Contestant = tuple[str, str]  # runtime and type


@dataclass(frozen=True)
class Rivals:
    """Runtimes in one type; beside the best of them we are to take at most ``target`` times.

    ``called`` is what the best of them is the best of, empty where there is one alone.
    """

    kind: str
    names: tuple[str, ...]
    target: float | None
    called: str = ""

    def claim(self, samples: Samples) -> Claim:
        """Beside the one whose median is the lowest; of each round's best none would be as good."""
        best = min(self.names, key=lambda name: statistics.median(samples[cell((name, self.kind))]))
        shown = cell((best, self.kind))[0]
        other = f"best {self.called} ({shown})" if self.called else shown
        return Claim(
            f"{NAME} / {other}, {self.kind}",
            cell((OURS, self.kind)),
            cell((best, self.kind)),
            self.target,
        )


_OTHER = "other"
_RUNTIMES = ("openvino", "onnxruntime", "transformers")
_BACKENDS = tuple(f"{SENTENCE_TRANSFORMERS}-{name}" for name in get_args(Backend))
_RIVALS: Mapping[Form, tuple[Rivals, ...]] = {
    Form.BATCH: (
        *(Rivals("float32", (name,), 1.0) for name in _RUNTIMES),
        Rivals("float32", _RUNTIMES, 1.0, _OTHER),
        Rivals("bfloat16", ("openvino",), 1.0, _OTHER),
        Rivals("int8", ("onnxruntime",), 1.0, _OTHER),
    ),
    Form.CAPTIONS: (
        Rivals("float32", ("openvino",), 0.97),
        Rivals("float32", _BACKENDS, 0.65, "sentence-transformers"),
        Rivals("bfloat16", ("openvino",), 1.0),
        Rivals("bfloat16", (f"{SENTENCE_TRANSFORMERS}-openvino",), None),
        Rivals("int8", ("onnxruntime",), 1.0),
    ),
    Form.TRAFFIC: (
        Rivals("float32", ("openvino",), 0.45),
        Rivals("bfloat16", ("openvino",), 1.0),
        Rivals("int8", ("onnxruntime",), 1.0),
    ),
    Form.OPENING: (Rivals("float32", ("transformers",), 0.4),),
}


def rivals(work: Work) -> Iterator[Rivals]:
    """All that stand beside us, the floor last."""
    yield from _RIVALS[work.form]
    if work.form is not Form.OPENING:
        for kind in KINDS:
            yield Rivals(kind, (FLOOR,), work.floor if kind == "float32" else None)


def contestants(work: Work) -> list[Contestant]:
    """Each once, type by type, we first."""
    found = [(kind, name) for r in rivals(work) for kind in (r.kind,) for name in (OURS, *r.names)]
    unique = list(dict.fromkeys(found))
    return [(name, kind) for each in KINDS for kind, name in unique if kind == each]


def claims(work: Work, samples: Samples) -> list[Claim]:
    """What is claimed of a workload, of those rivals who ran."""
    there = [
        Rivals(r.kind, names, r.target, r.called)
        for r in rivals(work)
        if (names := tuple(name for name in r.names if cell((name, r.kind)) in samples))
    ]
    found = [r.claim(samples) for r in there]
    if work.form is not Form.OPENING:
        int8, half = cell((OURS, "int8")), cell((OURS, "bfloat16"))
        found.append(Claim(f"{NAME}, int8 / {NAME}, bfloat16", int8, half, 1.0))
    return found


def cell(one: Contestant) -> Cell:
    """Where a contestant stands in the table."""
    name, kind = one
    module, _, backend = name.partition("-")
    if backend:
        return (f"{module.replace('_', '-')}, {backend}", kind)
    return (NAME if name == OURS else name, kind)
