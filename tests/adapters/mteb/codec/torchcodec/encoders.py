"""Samples to the bytes of a file."""

from typing import Any, BinaryIO

import soundfile
import torch


class AudioEncoder:
    def __init__(self, samples: torch.Tensor, *, sample_rate: int) -> None:
        self.samples, self.sample_rate = torch.atleast_2d(samples), sample_rate

    def to_file_like(self, file: BinaryIO, *, format: str, **options: Any) -> None:  # noqa: A002
        frames = self.samples.T.numpy()
        soundfile.write(file, frames, self.sample_rate, format=format, subtype="FLOAT")
