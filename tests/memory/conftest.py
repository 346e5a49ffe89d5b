"""Fixtures: a provider of every modality over tiny models, and sounds and pictures in files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from PIL import Image

from llm_compression import EmbeddingCache, MultimodalEmbeddingProvider
from tests.clip_checkpoints import pictures
from tests.whisper_checkpoints import RATE, noise

MakeProvider = Callable[..., MultimodalEmbeddingProvider]


@pytest.fixture(scope="session")
def make_provider(
    tiny_table: Path, tiny_clip_table: Path, tiny_whisper_table: Path
) -> MakeProvider:
    """A provider of all four models, with options of its own."""
    paths = (tiny_table, tiny_clip_table, tiny_whisper_table, tiny_clip_table)
    return lambda *args, **options: MultimodalEmbeddingProvider(*paths, *args, **options)


@pytest.fixture(scope="session")
def every(make_provider: MakeProvider) -> MultimodalEmbeddingProvider:
    """A provider of all four models, its encoders opened once for all tests."""
    return make_provider()


@pytest.fixture
def caching(make_provider: MakeProvider) -> MultimodalEmbeddingProvider:
    """A provider with a cache of its own in memory."""
    return make_provider(cache=EmbeddingCache())


@pytest.fixture
def image_files(tmp_path: Path) -> list[Path]:
    """Three pictures."""
    return write_images(tmp_path)


@pytest.fixture
def sound_files(tmp_path: Path) -> list[Path]:
    """A sound of one window and one of two."""
    return write_sounds(tmp_path)


def write_images(folder: Path) -> list[Path]:
    files = [folder / f"{i}.png" for i in range(3)]
    for file, picture in zip(files, pictures(3), strict=True):
        Image.fromarray(picture).save(file)
    return files


def write_sounds(folder: Path) -> list[Path]:
    files = [folder / f"{i}.wav" for i in range(2)]
    for i, file in enumerate(files):
        soundfile.write(file, noise(1.5 + i, seed=i), RATE)
    return files
