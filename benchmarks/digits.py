"""What the fast mode does to embeddings: spoken digits within each mode and across both."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.case import ASSETS, Case
from benchmarks.claims import Cell
from benchmarks.results import Section
from benchmarks.whisper import whisper_case
from llm_compression import AudioEncoder
from llm_compression.metrics.similarity import unit_rows
from llm_compression.multimodal.audio import layout as audio_layout

RECORDINGS = ASSETS / "fsdd" / "recordings"
_EXACT, _FAST = "exact", "fast"
_OWN = "among its own, same speakers"
_IN_EXACT = "in an exact index"
_OF_EXACT = "exact in its index"
_SPEAKER = "among its own, another speaker"
_MEAN, _LEAST = "cosine to exact, mean", "least"
_COLUMNS = (_MEAN, _LEAST, _OWN, _IN_EXACT, _OF_EXACT, _SPEAKER)
TEST = 5  # recordings below this number are the data set's own test split
_QUICK = ("jackson", "nicolas")  # of the speakers
# positions run one by one behind a sound, and stretches of the rest, one position for each
_OTHERS = [(8, 0), (64, 0), (0, 1), (8, 64), (16, 192)]


def measure(case: Case) -> list[Section]:
    """Accuracy of the nearest neighbour within and across the modes; nothing without the data."""
    if not RECORDINGS.exists():
        return []
    whisper, what = whisper_case(case)
    asked = range(case.rounds(full=0, quick=TEST - 1), TEST)
    known = range(TEST, TEST + case.rounds(full=10, quick=1))
    files = [
        path
        for path in sorted(RECORDINGS.glob("*.wav"))
        if number(path) in (*asked, *known) and (not case.quick or speaker(path) in _QUICK)
    ]
    speakers = len(set(map(speaker, files)))
    return [
        Section(
            name="digits",
            title="What the fast mode does to embeddings",
            note=f"{what}; {len(files)} recordings of ten digits by {speakers} speakers (Free "
            "Spoken Digit Dataset). Shares of recordings whose nearest neighbour by cosine is the "
            f"same digit: the data set's test recordings, numbers {asked.start} to {TEST - 1}, are "
            f"looked up among numbers {known.start} to {known.stop - 1} of the same speakers, or "
            "each speaker's among all of the others. The rows below the two modes are what the "
            "fast mode could run.",
            units=dict.fromkeys(_COLUMNS, "share"),
            samples=dict(_samples(files, whisper.table)),
        )
    ]


def number(path: Path) -> int:
    """Of a recording, among those of one digit by one speaker."""
    return int(path.stem.rpartition("_")[2])


def speaker(path: Path) -> str:
    """Who speaks in a recording."""
    return path.stem.split("_")[1]


def _samples(files: list[Path], table: Path) -> Iterator[tuple[Cell, list[float]]]:
    digits = np.array([path.stem[0] for path in files])
    speakers = np.array(list(map(speaker, files)))
    test = np.array([number(path) < TEST for path in files])
    exact = _embeddings(files, table, _EXACT)
    for name, found in _ways(files, table, exact):
        cosines = (found * exact).sum(1)
        alone = [accuracy(found, found, digits, speakers == one) for one in set(speakers)]
        yield (name, _MEAN), [float(cosines.mean())]
        yield (name, _LEAST), [float(cosines.min())]
        yield (name, _OWN), [accuracy(found, found, digits, test)]
        yield (name, _IN_EXACT), [accuracy(exact, found, digits, test)]
        yield (name, _OF_EXACT), [accuracy(found, exact, digits, test)]
        yield (name, _SPEAKER), [float(np.mean(alone))]


def _ways(files: list[Path], table: Path, exact: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield _EXACT, exact
    own = _layout(audio_layout.NEAR, audio_layout.FAR)
    yield f"{_FAST} ({own})", _embeddings(files, table, _FAST)
    for near, far in _OTHERS:
        with _layout_of(near, far):
            yield _layout(near, far), _embeddings(files, table, _FAST)


def _layout(near: int, far: int) -> str:
    return f"heard + {near}" + (f", {far} stretches" if far else "")


@contextmanager
def _layout_of(near: int, far: int) -> Iterator[None]:
    own = audio_layout.NEAR, audio_layout.FAR
    audio_layout.NEAR, audio_layout.FAR = near, far
    try:
        yield
    finally:
        audio_layout.NEAR, audio_layout.FAR = own


def _embeddings(files: list[Path], table: Path, mode: str) -> np.ndarray:
    return unit_rows(AudioEncoder(table, mode=mode).encode(files, batch_size=1))


def accuracy(
    index: np.ndarray, queries: np.ndarray, digits: np.ndarray, asked: np.ndarray
) -> float:
    """Share of ``queries`` that are ``asked`` whose nearest of the others is the same digit."""
    nearest = (queries[asked] @ index[~asked].T).argmax(1)
    return float((digits[~asked][nearest] == digits[asked]).mean())
