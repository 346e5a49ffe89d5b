"""Embeds: what a storage asks of the provider that it embeds with, and sees that it gets."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from llm_compression.errors import InputError
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.rows import as_array


class Embeds(Protocol):
    """What makes vectors, as `MultimodalEmbeddingProvider` does."""

    def identity(self, modality: str) -> VectorIdentity:
        """How vectors of ``text``, ``vision``, ``audio`` or ``clip`` are made."""

    def embed(
        self, modality: str, kind: str, inputs: Sequence[object], *, query: bool = False
    ) -> np.ndarray:
        """(n, d) float32 of inputs of a kind, ``text``, ``image`` or ``audio``."""


def check_provider(provider: object) -> None:
    """See that a provider has the methods of `Embeds`.

    Raises:
        InputError: one is missing.
    """
    for name in ("identity", "embed"):
        if not callable(getattr(provider, name, None)):
            raise InputError(
                f"the provider, {type(provider).__name__}, has no method {name!r}; take a "
                "MultimodalEmbeddingProvider, or give it the methods of Embeds (docs/memory.md)"
            )


def embedded(
    provider: Embeds, modality: str, kind: str, inputs: Sequence[object], *, query: bool = False
) -> np.ndarray:
    """A vector (d,) for each input, as (n, d).

    Raises:
        InputError: the provider gave something else.
    """
    vectors = as_array(provider.embed(modality, kind, inputs, query=query))
    if vectors.ndim != 2 or len(vectors) != len(inputs):
        raise InputError(
            f"the provider, {type(provider).__name__}, gave {vectors.dtype} of shape "
            f"{vectors.shape} for {len(inputs)} inputs; embed must give (n, d) floats, a row for "
            "each (docs/memory.md)"
        )
    return vectors
