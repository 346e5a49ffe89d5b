"""Hours of sound are heard in the memory that a minute takes, and a little more."""

from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.multimodal.listening import peaks

Start = Callable[..., tuple[Connection, ForkServerProcess]]
MOST = 150  # MB above a minute's; three hours as floats at 16 kHz are 691


@pytest.fixture
def growth(start: Start, long_whisper_table: Path, tmp_path: Path) -> Callable[..., float]:
    """By how many MB a recording raises the peak of a process that has heard one minute."""

    def measure(mode: str, form: str, rate: int, minutes: int) -> float:
        recordings = [record(tmp_path / f"{m}.{form}", rate, m) for m in (1, minutes)]
        pipe, process = start(peaks, long_whisper_table, mode, recordings)
        minute, whole = pipe.recv(), pipe.recv()
        process.join(60)
        return whole - minute

    return measure


def record(path: Path, rate: int, minutes: int) -> Path:
    """A simple pattern of 8 bits."""
    pattern = (0.3 * np.sin(0.2 * np.arange(60 * rate))).astype(np.float32)
    bits = "PCM_U8" if path.suffix == ".wav" else "PCM_S8"
    with soundfile.SoundFile(path, "w", rate, 1, bits) as file:
        for _ in range(minutes):
            file.write(pattern)
    return path


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_ten_minutes(mode: str, growth: Callable[..., float]):
    """At a rate at which their floats would take 154 MB, read at once."""
    assert growth(mode, "wav", 64_000, 10) < MOST / 2


@pytest.mark.slow
@pytest.mark.parametrize("form", ["wav", "flac"])
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_three_hours(mode: str, form: str, growth: Callable[..., float]):
    assert growth(mode, form, 8000, 180) < MOST
