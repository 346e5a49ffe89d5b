"""Vectors that are neither noise nor toy clusters: sums of real captions, and captions to ask for.

`python -m benchmarks.captions FOLDER [N]` embeds the captions once and writes N vectors.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.case import ASSETS, MINILM

CAPTIONS = ASSETS / "coco" / "all_captions.txt"
MILLION = 1_000_000
QUERIES = 1000
NOISE = 0.1
"""Expected norm of the noise that is added to the unit vector of two draws."""
_BLOCK = 16_384


@dataclass(frozen=True)
class Captions:
    """Embeddings of real captions by MiniLM, float32 of unit length.

    Args:
        drawn: (C, 384), what `vectors` draws from.
        queries: (1000, 384), of captions that are never drawn.
    """

    drawn: np.ndarray
    queries: np.ndarray

    def blocks(self, count: int, *, seed: int = 0) -> Iterator[np.ndarray]:
        """``count`` vectors in blocks of at most 16,384 rows, (B, 384)."""
        for start in range(0, count, _BLOCK):
            yield self._block(np.random.default_rng([seed, start]))[: count - start]

    def vectors(self, count: int, *, seed: int = 0) -> np.ndarray:
        """``count`` vectors, (count, 384); fewer vectors of one seed are the first of more."""
        return np.concatenate(list(self.blocks(count, seed=seed)))

    def _block(self, generator: np.random.Generator) -> np.ndarray:
        """Each row is the unit sum of two draws with noise, of unit length again; (16384, 384)."""
        size = self.drawn.shape[1]
        left, right = generator.integers(len(self.drawn), size=(2, _BLOCK))
        noise = generator.standard_normal((_BLOCK, size), dtype=np.float32) * NOISE / size**0.5
        return _unit(_unit(self.drawn[left] + self.drawn[right]) + noise.astype(np.float32))


def captions(folder: Path) -> Captions:
    """The caption embeddings kept in ``folder``; embedded there first, which takes minutes."""
    drawn, queries = folder / "captions.npy", folder / "queries.npy"
    if not queries.exists():
        folder.mkdir(parents=True, exist_ok=True)
        embeddings = _embeddings(folder)
        _save(drawn, embeddings[:-QUERIES])
        _save(queries, embeddings[-QUERIES:])
    return Captions(np.load(drawn), np.load(queries))


def million(folder: Path, count: int = MILLION) -> np.ndarray:
    """The first ``count`` vectors of seed 0, memory-mapped from ``folder``; written there first."""
    path = folder / ("million.npy" if count == MILLION else f"vectors-{count}.npy")
    if not path.exists():
        _write_vectors(path, captions(folder), count)
    mapped: np.ndarray = np.load(path, mmap_mode="r")
    return mapped


def _write_vectors(path: Path, source: Captions, count: int) -> None:
    partial, shape = path.with_suffix(".partial"), (count, source.drawn.shape[1])
    rows = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
    start = 0
    for block in source.blocks(count):
        rows[start : start + len(block)] = block
        start += len(block)
    rows.flush()
    partial.replace(path)


def _embeddings(folder: Path) -> np.ndarray:
    """All captions in a seeded order, so that the last are a sample; (24794, 384)."""
    from llm_compression import ArrowEngine, convert

    texts = sorted(set(CAPTIONS.read_text(encoding="utf-8").splitlines()))
    random.Random(0).shuffle(texts)
    table = convert(MINILM, folder / "minilm.parquet").path
    embeddings: np.ndarray = ArrowEngine(table).encode(texts, normalize_embeddings=True)
    return embeddings.astype(np.float32, copy=False)


def _save(path: Path, rows: np.ndarray) -> None:
    partial = path.with_suffix(".partial.npy")
    np.save(partial, rows)
    partial.replace(path)


def _unit(rows: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


if __name__ == "__main__":
    print(million(Path(sys.argv[1]), *map(int, sys.argv[2:])).shape)
