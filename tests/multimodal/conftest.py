"""Fixtures: a tiny CLIP, its vision encoder, and a look at what that decodes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llm_compression import convert
from llm_compression.multimodal.vision_encoder import VisionEncoder
from tests.clip_checkpoints import write_clip
from tests.multimodal.pictures import PICTURES


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP checkpoint: pictures of 32 x 32, 16 patches, 32 wide, projected to 24."""
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def clip_table(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clip` as a weight table."""
    return convert(clip, tmp_path_factory.mktemp("table") / "clip.parquet").path


@pytest.fixture(scope="session")
def singles(clip_table: Path) -> np.ndarray:
    """The embedding of each of `PICTURES` by itself."""
    encoder = VisionEncoder(clip_table, mapped=False)
    return np.stack([encoder.encode(image) for image in PICTURES])


@pytest.fixture
def encoder(clip_table: Path) -> VisionEncoder:
    """An encoder of its own for each test."""
    return VisionEncoder(clip_table, mapped=False)


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
