"""The same text gives the same vector, whatever it is batched with."""

from pathlib import Path

import numpy as np
import pytest

from llm_compression import ArrowEngine

BOUND = 1e-6  # stated in the docstring of ArrowEngine, for vectors of unit length


def captions(assets: Path, count: int) -> list[str]:
    lines = (assets / "coco" / "all_captions.txt").read_text().splitlines()
    return lines[:: len(lines) // count][:count]


def shuffled(texts: list[str], seed: int) -> tuple[list[str], np.ndarray]:
    order = np.random.default_rng(seed).permutation(len(texts))
    return [texts[i] for i in order], np.argsort(order)


@pytest.mark.minilm
def test_within_rounding_by_default(minilm_table: Path, assets: Path) -> None:
    engine = ArrowEngine(minilm_table)
    texts = [*captions(assets, 60), " ".join(captions(assets, 12)), "a"]
    alone = np.stack([engine.encode(text) for text in texts])
    for seed, batch_size in enumerate((2, 7, 32, 64)):
        mixed, back = shuffled(texts, seed)
        together = engine.encode(mixed, batch_size=batch_size)[back]
        assert np.abs(together - alone).max() <= BOUND


@pytest.mark.minilm
def test_to_the_bit_when_deterministic(minilm_table: Path, assets: Path) -> None:
    engine = ArrowEngine(minilm_table, deterministic=True)
    texts = [*captions(assets, 40), "a"]
    alone = np.stack([engine.encode(text) for text in texts])
    for seed, batch_size in enumerate((1, 7, 64)):
        mixed, back = shuffled(texts, seed)
        np.testing.assert_array_equal(engine.encode(mixed, batch_size=batch_size)[back], alone)
    np.testing.assert_array_equal(
        ArrowEngine(minilm_table, deterministic=True).encode(texts), alone
    )


def test_tiny_model_to_the_bit(tiny_table: Path) -> None:
    engine = ArrowEngine(tiny_table, deterministic=True)
    texts = ["the cat", "a dog runs on the mat", "red . blue", "un ##able ##s"]
    alone = np.stack([engine.encode(text) for text in texts])
    np.testing.assert_array_equal(engine.encode(texts * 5), np.tile(alone, (5, 1)))
