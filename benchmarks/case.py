"""Case: the model under test, as checkpoint and as weight table, for one run."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import ROOT

MINILM = Path(os.environ.get("LLM_COMPRESSION_MINILM", ROOT / "models" / "all-MiniLM-L6-v2"))
ASSETS = Path(os.environ.get("LLM_COMPRESSION_ASSETS", ROOT.parent / "shared" / "assets"))
EMBEDDING_BOUND = 1e-5


@dataclass(frozen=True)
class Case:
    """One model, and how thoroughly to measure it.

    Args:
        checkpoint: the Hugging Face folder.
        table: the same model as a weight table.
        folder: an empty folder for everything else that a benchmark makes.
        quick: fewer rounds.
    """

    checkpoint: Path
    table: Path
    folder: Path
    quick: bool

    @property
    def safetensors(self) -> Path:
        """The checkpoint's weights."""
        return self.checkpoint / "model.safetensors"

    def rounds(self, full: int, quick: int) -> int:
        """How often each contestant runs."""
        return quick if self.quick else full


class WrongResultError(Exception):
    """Contestants disagree, so their times mean nothing."""


def check_embeddings(found: Sequence[np.ndarray], what: str) -> str:
    """Compare embeddings with the first of them and say how far they agree.

    Raises:
        WrongResultError: a difference exceeds `EMBEDDING_BOUND`.
    """
    worst = float(np.max([np.max(np.abs(other - found[0])) for other in found[1:]]))
    if math.isnan(worst) or worst > EMBEDDING_BOUND:
        raise WrongResultError(f"{what} differ by {worst:.2g}, more than {EMBEDDING_BOUND:g}")
    found_out = f"agree within {worst:.1g}" if worst else "are identical"
    return f"{what} {found_out} (allowed: {EMBEDDING_BOUND:g})"
