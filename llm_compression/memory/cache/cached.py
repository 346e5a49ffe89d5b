"""Inputs through a cache: what it has comes from there, the rest is embedded in one batch."""

import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from llm_compression.errors import InputError, OutputError, TargetBusyError
from llm_compression.memory.cache.cache import EmbeddingCache
from llm_compression.memory.identity import VectorIdentity

T = TypeVar("T")


class NotCachedWarning(UserWarning):
    """Vectors were made, but the cache could not keep them."""


def through_cache(
    cache: EmbeddingCache,
    identity: VectorIdentity,
    inputs: Sequence[T],
    digest: Callable[[T], bytes | None],
    make: Callable[[list[T]], np.ndarray],
) -> np.ndarray:
    """(n, d) vectors of inputs, equal ones embedded once; the array is the caller's own.

    What has no digest, or another once it is embedded, as when a file changed meanwhile, is not
    kept. Vectors that the cache cannot take are given all the same, with a `NotCachedWarning`.
    """
    contents = [digest(value) for value in inputs]
    names = [place if content is None else content for place, content in enumerate(contents)]
    known = list(dict.fromkeys(content for content in contents if content is not None))
    held = zip(known, cache.get(identity, known), strict=True)
    vectors: dict[bytes | int, np.ndarray] = {c: vector for c, vector in held if vector is not None}
    first = {name: place for place, name in reversed([*enumerate(names)]) if name not in vectors}
    if missing := sorted(first.values()):
        made = _made(make, inputs, missing)
        vectors |= zip((names[place] for place in missing), made, strict=True)
        kept = [c for i in missing if (c := contents[i]) is not None and digest(inputs[i]) == c]
        if kept:
            _keep(cache, identity, kept, np.stack([vectors[content] for content in kept]))
    empty = np.empty((0, identity.dimension), np.float32)
    return np.stack([vectors[name] for name in names]) if names else empty


def _keep(
    cache: EmbeddingCache, identity: VectorIdentity, contents: list[bytes], vectors: np.ndarray
) -> None:
    try:
        cache.put(identity, contents, vectors)
    except (OutputError, TargetBusyError) as error:
        warnings.warn(f"vectors were made, but not kept: {error}", NotCachedWarning, stacklevel=5)


def _made(
    make: Callable[[list[T]], np.ndarray], inputs: Sequence[T], missing: Sequence[int]
) -> np.ndarray:
    """The vectors of those inputs; an error says how it counts them."""
    try:
        return make([inputs[place] for place in missing])
    except InputError as error:
        if len(missing) == len(inputs):
            raise
        places = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise type(error)(
            f"{error} (counted among those that are not in the cache: inputs {places})"
        ) from error
