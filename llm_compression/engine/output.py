"""From the model's embedding to what is given out: cut, and scaled by the right ranges."""

import numpy as np

from llm_compression.errors import InputError
from llm_compression.metrics.quantization import EmbeddingRanges, quantize
from llm_compression.spec.names import SCALED_PRECISIONS


def cut(embeddings: np.ndarray, width: int, *, renormalize: bool) -> np.ndarray:
    """(n, E) -> (n, width); rows that were of unit length are again."""
    if width == embeddings.shape[1]:
        return embeddings
    first = np.ascontiguousarray(embeddings[:, :width])
    if renormalize:
        norms = np.linalg.norm(first, axis=1, keepdims=True)
        first /= np.where(norms == 0, 1, norms)
    return first


def in_precision(
    embeddings: np.ndarray,
    precision: str,
    ranges: EmbeddingRanges | None,
    fingerprint: str,
    *,
    normalized: bool,
) -> np.ndarray:
    """Embeddings as `quantize` gives them, by ``ranges`` or else by those of their own.

    Raises:
        InputError: the ranges are another model's, or one embedding alone spans none.
    """
    if precision in SCALED_PRECISIONS and len(embeddings):
        ranges = own_ranges(embeddings, ranges, fingerprint, normalized=normalized)
    return quantize(embeddings, precision, ranges)


def own_ranges(
    embeddings: np.ndarray, ranges: EmbeddingRanges | None, fingerprint: str, *, normalized: bool
) -> EmbeddingRanges:
    """``ranges`` if they are this model's, else those of the embeddings themselves.

    Raises:
        InputError: the ranges are another model's, or one embedding alone spans none.
    """
    if ranges is not None and not isinstance(ranges, EmbeddingRanges):
        raise InputError(
            f"ranges is {type(ranges).__name__}; pass EmbeddingRanges, from `calibrate` or "
            "EmbeddingRanges(low, high, engine.fingerprint)"
        )
    if ranges is None:
        return EmbeddingRanges.of(embeddings, fingerprint, normalized=normalized)
    if ranges.model != fingerprint:
        raise InputError(
            f"the ranges are of model {ranges.model[:12]}, this is {fingerprint[:12]}; "
            "calibrate again with this model"
        )
    if ranges.normalized is not normalized:
        kinds = {True: "of unit length", False: "as they come"}
        raise InputError(
            f"the ranges are of embeddings {kinds[ranges.normalized]}, these are "
            f"{kinds[normalized]}; calibrate with the same normalize_embeddings"
        )
    return ranges
