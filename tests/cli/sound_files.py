"""Folders of sounds for commands to find."""

from pathlib import Path

import numpy as np
import soundfile

from tests.whisper_checkpoints import RATE, noise, tone

# of windows of 2 s: all but the last fit into one
SECONDS = {"buzz.WAV": 0.4, "clap.flac": 1.1, "hum.Ogg": 1.7, "more/song.aiff": 5.0}


def write_sounds(folder: Path) -> Path:
    """A sound of each length, one a folder down, and what looks like a sound but is none."""
    (folder / "more" / "empty.wav").mkdir(parents=True)
    for seed, (name, seconds) in enumerate(SECONDS.items()):
        samples = noise(seconds, seed) + tone(seconds, 200.0 * (seed + 1))
        soundfile.write(folder / name, samples, RATE)
    (folder / "notes.txt").write_text("no sound")
    return folder


def names(folder: Path) -> list[str]:
    """The sounds of `write_sounds`, in the order that a folder is read."""
    return [str(folder / name) for name in SECONDS]


def write_broken(folder: Path) -> Path:
    """A truncated sound among the others."""
    path = folder / "cut.wav"
    path.write_bytes((folder / "buzz.WAV").read_bytes()[:3000])
    return path


def write_late_broken(folder: Path) -> Path:
    """A sound whose first windows can be read."""
    samples = noise(40.0)
    samples[-100] = np.nan
    soundfile.write(folder / "late.wav", samples, RATE, "FLOAT")
    return folder / "late.wav"


def write_thousand(folder: Path, broken: int) -> list[str]:
    """Short sounds, of which one ends too early; their names in order."""
    folder.mkdir()
    files = [folder / f"{number:04d}.wav" for number in range(1000)]
    for number, file in enumerate(files):
        soundfile.write(file, tone(0.02, 100.0 + number), RATE)
    files[broken].write_bytes(files[broken].read_bytes()[:300])
    return [str(file) for file in files]


def close(ours: object, theirs: np.ndarray) -> None:
    """Equal but for the order of sums."""
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=1e-5)
