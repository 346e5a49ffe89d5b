"""How many sentences a second are embedded, beside sentence-transformers."""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.case import ASSETS, Case, WrongResultError, check_embeddings
from benchmarks.claims import Claim
from benchmarks.measure import interleave
from benchmarks.process import Run, run_program
from benchmarks.results import Section

_CAPTIONS = ASSETS / "coco" / "all_captions.txt"
_MADE = 5000  # sentences where there are no captions and all are wanted
_OURS, _THEIRS = "llm_compression", "sentence-transformers"
_WORDS = (
    "a",
    "cat",
    "dog",
    "bird",
    "woman",
    "train",
    "tree",
    "runs",
    "sits",
    "on",
    "in",
    "under",
    "two",
)


def measure(case: Case) -> list[Section]:
    """Both libraries embed the same sentences with their defaults, in processes in turn."""
    lines, source = sentences(case.rounds(full=2000, quick=200))
    texts = case.folder / "sentences.txt"
    texts.write_text("\n".join(lines), encoding="utf-8")
    runs = interleave(_contestants(case, texts), case.rounds(full=5, quick=2), warmup=0)
    times = {name: [run.report["seconds"] for run in of_one] for name, of_one in runs.items()}
    return [
        Section(
            name="embed",
            title="Embed sentences in float32",
            note=f"{len(lines)} {source}; batches of 32, {_threads(runs)} threads each, "
            "processes in turn, warmed up.",
            units={"time": "s", "sentences": "/s"},
            samples={(name, "time"): times[name] for name in times}
            | {(name, "sentences"): [len(lines) / t for t in times[name]] for name in times},
            claims=[Claim(f"{_OURS} / {_THEIRS}, time", (_OURS, "time"), (_THEIRS, "time"))],
            checks=[_check(case)],
        )
    ]


def _contestants(case: Case, texts: Path) -> dict[str, Callable[[], Run]]:
    programs = {_OURS: ("mapped", case.table), _THEIRS: (_THEIRS, case.checkpoint)}
    return {
        name: partial(
            run_program,
            "benchmarks.programs",
            ["throughput", opener, model, texts, _output(case, name)],
        )
        for name, (opener, model) in programs.items()
    }


def _output(case: Case, name: str) -> Path:
    return case.folder / f"{name}.npy"


def _check(case: Case) -> str:
    found = [np.load(_output(case, name)) for name in (_OURS, _THEIRS)]
    return check_embeddings(found, "the embeddings of both")


def _threads(runs: Mapping[str, Sequence[Run]]) -> int:
    counts = {run.report["threads"] for of_one in runs.values() for run in of_one}
    if len(counts) > 1:
        raise WrongResultError(f"the libraries ran with different thread counts: {counts}")
    return int(counts.pop())


def sentences(count: int | None) -> tuple[list[str], str]:
    """Sentences, and what they are: real captions where the data exists, else seeded ones.

    None is all captions, in the order of their file.
    """
    if _CAPTIONS.exists():
        captions = _CAPTIONS.read_text(encoding="utf-8").splitlines()
        chosen = captions if count is None else random.Random(0).sample(captions, count)
        return chosen, "captions of COCO"
    choose, count = random.Random(0), count or _MADE
    made = [" ".join(choose.choices(_WORDS, k=choose.randint(6, 20))) for _ in range(count)]
    return made, "synthetic sentences of 6 to 20 words"
