"""The workloads: models at the shapes that are measured, with seeded inputs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

MINILM, VIT, WHISPER = "minilm", "vit", "whisper"


@dataclass(frozen=True)
class Work:
    """``count`` inputs of one model, run as one batch; ``tokens`` of a text, 0 elsewhere."""

    name: str
    model: str
    count: int
    tokens: int = 0


WORKS = {
    work.name: work
    for work in (
        Work("ViT-B/32, 1", VIT, 1),
        Work("ViT-B/32, 8", VIT, 8),
        Work("ViT-B/32, 32", VIT, 32),
        Work("MiniLM 1x16", MINILM, 1, 16),
        Work("MiniLM 1x128", MINILM, 1, 128),
        Work("MiniLM 32x32", MINILM, 32, 32),
        Work("MiniLM 32x128", MINILM, 32, 128),
        Work("Whisper-base, 30 s", WHISPER, 1),
    )
}


def inputs(work: Work, folder: Path) -> np.ndarray:
    """Token ids (n, T), pixels (n, 3, 224, 224), or the mel frames (n, 80, 3000) in ``folder``."""
    random = np.random.default_rng(0)
    if work.model == MINILM:
        ids = random.integers(2000, 29000, (work.count, work.tokens))
        ids[:, 0], ids[:, -1] = 101, 102  # [CLS] and [SEP]
        return ids
    if work.model == VIT:
        return random.normal(size=(work.count, 3, 224, 224)).astype(np.float32)
    frames: np.ndarray = np.load(folder / "frames.npy")
    return frames
