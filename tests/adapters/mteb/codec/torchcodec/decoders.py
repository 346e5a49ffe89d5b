"""The bytes of a file to samples."""

import io
from types import SimpleNamespace
from typing import Any

import soundfile
import torch


class AudioDecoder:
    def __init__(self, source: bytes, **options: Any) -> None:
        frames, self.sample_rate = soundfile.read(io.BytesIO(source), dtype="float32")
        self.data = torch.atleast_2d(torch.from_numpy(frames.T))
        self.metadata = SimpleNamespace(sample_rate=self.sample_rate)

    def get_all_samples(self) -> SimpleNamespace:
        return SimpleNamespace(data=self.data, sample_rate=self.sample_rate)

    def get_samples_played_in_range(self, start: float, stop: float) -> SimpleNamespace:
        return self.get_all_samples()


class VideoDecoder:
    pass
