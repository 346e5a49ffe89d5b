"""Texts, pictures and sounds of many kinds, for validation where nobody brings their own."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SAMPLE_TEXTS = (
    "A cat sits on the mat.",
    "Two dogs are running through a field of snow.",
    "a",
    "",
    "The quick brown fox jumps over the lazy dog; 42 times, in 3.14 seconds!",
    "Ein Vogel singt über dem Fluß, naïve café résumé.",
    "東京は日本の首都です。",
    "Привет, мир! مرحبا بالعالم",
    "emoji 🙂🚀 and\ttabs\nand newlines",
    "def encode(inputs): return [model(x) for x in inputs]",
    "antidisestablishmentarianism floccinaucinihilipilification",
    "www.example.org/path?query=1&other=2",
    "UPPER CASE AND lower case AND MiXeD",
    "one two three four five six seven eight nine ten " * 8,
    "A sentence far beyond the maximum length of the model. " * 60,
)

_SIZES = ((224, 224), (640, 480), (300, 700), (37, 23), (1, 1), (900, 60))  # width, height


def sample_images(seed: int = 0) -> "list[Image]":
    """Noise, waves and flat colours in several sizes and modes, the same for the same seed."""
    return list(_images(np.random.default_rng(seed)))


def _images(rng: np.random.Generator) -> "Iterator[Image]":
    from PIL import Image

    for width, height in _SIZES:
        yield Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        rows, columns = np.mgrid[0:height, 0:width]
        phases = rng.uniform(0, 6, 3) + rows[..., None] / 17 + columns[..., None] / 29
        yield Image.fromarray((127 * (1 + np.sin(phases))).astype(np.uint8))
    yield Image.new("RGB", (50, 40), (200, 30, 90))
    yield Image.fromarray(rng.integers(0, 256, (60, 80), np.uint8))  # grey
    yield Image.fromarray(rng.integers(0, 256, (60, 80, 4), np.uint8))  # with transparency


def sample_sounds(seed: int = 0, sampling_rate: int = 16000) -> list[np.ndarray]:
    """Tones, sweeps, noise, clicks and silence of several lengths, the same for the same seed."""
    rng = np.random.default_rng(seed)
    sounds = []
    for seconds in (0.01, 0.4, 3.0, 30.0):
        time = np.arange(max(1, int(seconds * sampling_rate))) / sampling_rate
        swell = np.sin(np.pi * time / seconds)
        sounds.append(0.5 * np.sin(2 * np.pi * (200 + 400 * time / seconds) * time) * swell)
        sounds.append(rng.normal(0, 0.1, len(time)) * swell)
    sounds.append(np.zeros(sampling_rate))
    sounds.append((rng.random(2 * sampling_rate) > 0.9995).astype(np.float64))
    return [sound.astype(np.float32) for sound in sounds]
