"""Fixtures: the encoders of a tiny CLIP and a tiny Whisper, and a look at what one decodes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llm_compression.multimodal.audio.encoder import AudioEncoder
from llm_compression.multimodal.vision.encoder import VisionEncoder
from tests.multimodal.pictures import PICTURES


@pytest.fixture(scope="session")
def singles(tiny_clip_table: Path) -> np.ndarray:
    """The embedding of each of `PICTURES` by itself."""
    encoder = VisionEncoder(tiny_clip_table, mapped=False)
    return np.stack([encoder.encode(image) for image in PICTURES])


@pytest.fixture
def encoder(tiny_clip_table: Path) -> VisionEncoder:
    """Takes pictures to 24 numbers: 32 x 32 pixels, 16 patches, 32 wide."""
    return VisionEncoder(tiny_clip_table, mapped=False)


@pytest.fixture
def watch(
    encoder: VisionEncoder, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[str], object]], None]:
    """Has a function called with the name of each picture before `encoder` decodes it."""
    read = encoder.processor.pixels

    def begin(before: Callable[[str], object]) -> None:
        def pixels(source: object, name: str) -> np.ndarray:
            before(name)
            return read(source, name)

        monkeypatch.setattr(encoder.processor, "pixels", pixels)

    return begin


@pytest.fixture
def hearing(tiny_whisper_table: Path) -> AudioEncoder:
    """Takes sounds to 16 numbers, in windows of two seconds and 100 positions."""
    return AudioEncoder(tiny_whisper_table, mapped=False)


@pytest.fixture
def fast_hearing(tiny_whisper_table: Path) -> AudioEncoder:
    """`hearing` in the fast mode."""
    return AudioEncoder(tiny_whisper_table, mapped=False, mode="fast")
