"""Every family on a GPU beside float32 on the CPU; without one these tests skip."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llm_compression import ArrowEngine, AudioEncoder, CLIPEngine
from llm_compression.validation.validate import validate
from tests.clip_checkpoints import pictures
from tests.whisper_checkpoints import noise, tone

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU, and a torch that is built for it"
)
TEXTS = ["the cat sits on a mat", "red", "a dog runs , unable . " * 3, "red", "the cat"] * 30
SOUNDS = [noise(0.5), tone(1.3), noise(2.0, seed=1), noise(5.1), tone(0.2)]
TYPES = {"float32": 2e-5, "bfloat16": 0.05, "float16": 0.01}
Opened = Callable[..., Any]


@pytest.fixture(params=["texts", "clip texts", "clip images", "exact sounds", "fast sounds"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """Opens an engine; gives what encodes its inputs to unit length, so many at a time."""

    def table(name: str) -> Path:
        path: Path = request.getfixturevalue(name)
        return path

    def texts(**options: object) -> Callable[[int], np.ndarray]:
        engine = ArrowEngine(table("tiny_table"), **options)
        return lambda size: engine.encode(TEXTS, batch_size=size)

    def clip(kind: str, inputs: Any, **options: object) -> Callable[[int], np.ndarray]:
        engine = CLIPEngine(table("tiny_clip_table"), **options)
        return lambda size: getattr(engine, f"encode_{kind}")(inputs, batch_size=size)

    def sounds(mode: str, **options: object) -> Callable[[int], np.ndarray]:
        encoder = AudioEncoder(table("tiny_whisper_table"), mode=mode, **options)
        return lambda size: encoder.encode(
            SOUNDS, sampling_rate=16000, batch_size=size, normalize_embeddings=True
        )

    openers: dict[str, Opened] = {
        "texts": texts,
        "clip texts": lambda **o: clip("text", ["a photo of a cat", "a red truck", "a"] * 9, **o),
        "clip images": lambda **o: clip("image", pictures(9), **o),
        "exact sounds": lambda **o: sounds("exact", **o),
        "fast sounds": lambda **o: sounds("fast", **o),
    }
    return openers[request.param]


@pytest.mark.parametrize("compute_dtype", TYPES)
def test_embeddings_are_those_of_the_cpu(compute_dtype: str, opened: Opened) -> None:
    found = opened(device="cuda", compute_dtype=compute_dtype)(64)
    np.testing.assert_allclose(found, opened()(64), atol=TYPES[compute_dtype])
    assert found.dtype == np.float32


@pytest.mark.parametrize("size", [1, 3, 7])
def test_any_batch_gives_the_same(size: int, opened: Opened) -> None:
    encode = opened(device="cuda")
    np.testing.assert_allclose(encode(size), encode(64), atol=1e-5)


def test_weights_that_were_decoded_are_copied_too(opened: Opened) -> None:
    found = [opened(device="cuda:0", mapped=mapped)(64) for mapped in (True, False)]
    np.testing.assert_allclose(*found, atol=1e-6)


@pytest.mark.parametrize("compute_dtype", TYPES)
@pytest.mark.parametrize("family", ["bert", "clip", "whisper"])
def test_every_tap_keeps_its_row(
    family: str, compute_dtype: str, request: pytest.FixtureRequest
) -> None:
    table = request.getfixturevalue("tiny_table" if family == "bert" else f"tiny_{family}_table")
    checkpoint = request.getfixturevalue(f"tiny_{family}")
    report = validate(table, checkpoint, compute_dtype=compute_dtype, device="cuda")
    assert report.passed, report.to_table()
