"""One workload in all runtimes and types, as a section of the results."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.case import WrongResultError
from benchmarks.measure import interleave
from benchmarks.results import Section
from benchmarks.runtimes.contests import (
    FLOOR,
    KINDS,
    OURS,
    SENTENCE_TRANSFORMERS,
    Contestant,
    cell,
    claims,
    contestants,
)
from benchmarks.runtimes.elsewhere import Elsewhere
from benchmarks.runtimes.process import Worker
from benchmarks.runtimes.works import Form, Work

# bound on 1 - cosine to ours in float32; int8 has none, as its own loss is large: it is stated
BOUNDS = {"float32": 1e-5, "bfloat16": 5e-4}
_ROUNDS = {Form.BATCH: 15, Form.CAPTIONS: 3, Form.TRAFFIC: 7, Form.OPENING: 21}
_QUICK_ROUNDS = 3
_TITLES = {
    Form.BATCH: "{name}: one batch",
    Form.CAPTIONS: "Captions: from text to embeddings",
    Form.TRAFFIC: "A server's traffic: batches of 32 as they arrive",
    Form.OPENING: "Open a model in a warm process",
}
_NOTES = {
    Form.BATCH: "{what}; from token ids, pixels or mel frames to embeddings",
    Form.CAPTIONS: "{what}; openvino and onnxruntime are fed by hand, with batches of 32 sorted "
    "by length, and sentence-transformers is called as by its users: in float32 its openvino is "
    "told so, in bfloat16 it has its default",
    Form.TRAFFIC: "{what}; texts of 8 to 256 tokens, log-uniform, from token ids to embeddings; no "
    "batch is regrouped: the others pad each to its longest text and mask the rest",
    Form.OPENING: "{what}; from files to the embedding of a sentence, tokenizer included, in a "
    "process that has done it before",
}


def measure(
    work: Work, folder: Path, what: Mapping[str, str], elsewhere: Elsewhere | None, *, quick: bool
) -> Section:
    """The contestants in turn; those that run ``elsewhere`` are left out where it is None."""
    running = [one for one in contestants(work) if elsewhere or not _is_foreign(one)]
    foreign = elsewhere if any(_is_foreign(one) for one in running) else None
    runs = _runs(work, folder, running, foreign, rounds=_QUICK_ROUNDS if quick else None)
    samples = {cell(one): [1e3 * s for s in seconds] for one, seconds in runs.items()}
    note = _NOTES[work.form].format(what=what.get(work.name, what[work.model]))
    return Section(
        name=work.name,
        title=_TITLES[work.form].format(name=work.name),
        note=f"{note}; in processes that take turns, with the threads that each takes by default."
        + (f" In an environment of its own: {foreign.versions}." if foreign else ""),
        units={kind: "ms" for kind in KINDS if any(one[1] == kind for one in running)},
        samples=samples,
        claims=claims(work, samples),
        checks=[
            check(work, folder, one)
            for one in running
            if one[0] != FLOOR and one != (OURS, "float32")
        ],
    )


def check(work: Work, folder: Path, one: Contestant) -> str:
    """How near the embeddings are to ours in float32.

    Raises:
        WrongResultError: not near enough for their type.
    """
    exact, found = (
        np.load(Worker.output(folder, *who, work.name)) for who in ((OURS, "float32"), one)
    )
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(found, axis=1)
    worst = float(1 - ((exact * found).sum(1) / lengths).min())
    bound = BOUNDS.get(one[1])
    if bound is not None and not worst <= bound:
        raise WrongResultError(f"{one} of {work.name} is off by {worst:.2g} of cosine")
    return f"cosine of {cell(one)[0]}, {one[1]} to float32 at least {min(1.0, 1 - worst):.6f}"


def _runs(
    work: Work,
    folder: Path,
    running: list[Contestant],
    foreign: Elsewhere | None,
    *,
    rounds: int | None,
) -> dict[Contestant, list[float]]:
    workers: dict[Contestant, Worker] = {}
    long = work.form is Form.CAPTIONS
    try:
        for one in running:
            python = foreign.python if foreign and _is_foreign(one) else sys.executable
            workers[one] = Worker(*one, work.name, folder, python, long=long)
        for worker in workers.values():
            worker.ready()
        return interleave(workers, rounds or _ROUNDS[work.form], warmup=0 if long else 1)
    finally:
        for worker in workers.values():
            worker.close()


def _is_foreign(one: Contestant) -> bool:
    return one[0].startswith(SENTENCE_TRANSFORMERS)
