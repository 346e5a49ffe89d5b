"""WindowEmbeddings: what `AudioEncoder.encode_windows` gives."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WindowEmbeddings:
    """``embeddings`` (w, E) of windows, each of the sound of index ``sounds`` (w,).

    A window goes from ``starts`` to ``stops`` (w,), in seconds. ``skipped`` says of each sound
    that was left out why.
    """

    embeddings: np.ndarray
    sounds: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    skipped: dict[int, str]
