"""The workloads: models at the shapes that are measured, with seeded inputs."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[Any], np.ndarray]  # what `inputs` gives -> embeddings (n, E)
MINILM, VIT, WHISPER = "minilm", "vit", "whisper"
MASKED = "-masked"  # behind a graph's name: it takes a mask beside the ids
SENTENCE = "A cat sits on a mat in the red park."
_FRAMES, _CAPTIONS, _TRAFFIC = "frames.npy", "captions.txt", "traffic.json"
_SHORTEST, _LONGEST = 8, 256  # tokens of the traffic's texts
_ARRIVING = 32  # texts of a batch


class Form(Enum):
    """What a workload consists of."""

    BATCH = "batch"  # inputs of one shape
    CAPTIONS = "captions"  # texts, which may be run in any order
    TRAFFIC = "traffic"  # token ids of many lengths, in batches that stay as they are
    OPENING = "opening"  # a sentence, for a model that is opened each time


@dataclass(frozen=True)
class Work:
    """One model on seeded inputs.

    Args:
        name: short and stable.
        model: whose name its files have.
        count: inputs of a batch.
        tokens: of each text in a batch, 0 elsewhere.
        form: what the inputs are.
        floor: how many times its floor we may take in float32, None where nothing is promised.
    """

    name: str
    model: str
    count: int = 1
    tokens: int = 0
    form: Form = Form.BATCH
    floor: float | None = 1.15

    @property
    def graph(self) -> str:
        """The exported graph that runs it; texts of one length need no mask, which costs time."""
        return self.model if self.form is Form.BATCH else self.model + MASKED


CAPTIONS = Work("Captions", MINILM, form=Form.CAPTIONS, floor=1.12)
TRAFFIC = Work("Traffic", MINILM, form=Form.TRAFFIC, floor=None)
OPENING = Work("Opening", MINILM, form=Form.OPENING, floor=None)
WORKS = {
    work.name: work
    for work in (
        Work("ViT-B/32, 1", VIT, 1),
        Work("ViT-B/32, 8", VIT, 8),
        Work("ViT-B/32, 32", VIT, 32),
        # of so small a batch, most time goes to starting operators
        Work("MiniLM 1x16", MINILM, 1, 16, floor=None),
        Work("MiniLM 1x128", MINILM, 1, 128),
        Work("MiniLM 32x32", MINILM, 32, 32),
        Work("MiniLM 32x128", MINILM, 32, 128),
        Work("Whisper-base, 30 s", WHISPER, 1),
        CAPTIONS,
        TRAFFIC,
        OPENING,
    )
}


def inputs(work: Work, folder: Path) -> Any:
    """The inputs of a workload, those of `keep_inputs` from ``folder``.

    Token ids (n, T), pixels (n, 3, 224, 224), mel frames (n, 80, 3000), texts, or batches of lists
    of token ids.
    """
    if work.form is Form.CAPTIONS:
        return (folder / _CAPTIONS).read_text(encoding="utf-8").splitlines()
    if work.form is Form.TRAFFIC:
        return json.loads((folder / _TRAFFIC).read_text())
    if work.form is Form.OPENING:
        return [SENTENCE]
    random = np.random.default_rng(0)
    if work.model == MINILM:
        return np.array([_ids(random, work.tokens) for _ in range(work.count)])
    if work.model == VIT:
        return random.normal(size=(work.count, 3, 224, 224)).astype(np.float32)
    return np.load(folder / _FRAMES)


def keep_inputs(
    folder: Path,
    *,
    frames: np.ndarray | None = None,
    captions: list[str] | None = None,
    traffic: int | None = None,
) -> None:
    """Store in ``folder`` what is given: mel frames, texts, so many batches of `arrivals`."""
    if frames is not None:
        np.save(folder / _FRAMES, frames)
    if captions is not None:
        (folder / _CAPTIONS).write_text("\n".join(captions), encoding="utf-8")
    if traffic is not None:
        (folder / _TRAFFIC).write_text(json.dumps(arrivals(traffic)))


def arrivals(batches: int) -> list[list[list[int]]]:
    """Batches of texts as token ids, whose lengths are log-uniform: each doubling as likely."""
    random = np.random.default_rng(0)
    low, high = math.log(_SHORTEST), math.log(_LONGEST + 1)
    lengths = np.exp(random.uniform(low, high, (batches, _ARRIVING))).astype(int)
    return [[_ids(random, length) for length in batch] for batch in lengths.tolist()]


def _ids(random: np.random.Generator, tokens: int) -> list[int]:
    """A text of MiniLM's vocabulary between [CLS] and [SEP]."""
    return [101, *random.integers(2000, 29000, tokens - 2).tolist(), 102]
