"""Comparison of one tap with its reference, element by element and vector by vector."""

from dataclasses import dataclass

import numpy as np

from llm_compression.errors import ParityError
from llm_compression.validation.tolerance import Tolerance

_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class TapComparison:
    """``n`` vectors of one tap; ``relative`` is the absolute error over the largest value.

    ``noise``, where it was measured, is what the last bits of its input do to the reference.
    """

    name: str
    n: int
    absolute: float
    relative: float
    cosine_min: float
    cosine_mean: float
    noise: float | None
    passed: bool


def compare_tap(
    name: str,
    ours: np.ndarray,
    reference: np.ndarray,
    tolerance: Tolerance,
    noise: float | None = None,
) -> TapComparison:
    """Compare (n, D) with (n, D).

    Raises:
        ParityError: the shapes differ.
    """
    if ours.shape != reference.shape:
        raise ParityError(f"tap {name} is {ours.shape} here and {reference.shape} in the reference")
    absolute = float(np.abs(ours - reference).max())
    relative = absolute / largest(reference)
    cosines = _cosines(ours.astype(np.float64), reference.astype(np.float64))
    return TapComparison(
        name=name,
        n=len(ours),
        absolute=absolute,
        relative=relative,
        cosine_min=float(cosines.min()),
        cosine_mean=float(cosines.mean()),
        noise=noise,
        passed=tolerance.holds(absolute, relative, float(cosines.min()), noise),
    )


def largest(values: np.ndarray) -> float:
    """The largest of the absolute values, what errors are relative to; never 0."""
    return max(float(np.abs(values).max()), _TINY)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = (a == b).all(axis=1)  # rows of zeros have no direction but may agree
    products = np.einsum("nd,nd->n", a, b)
    with np.errstate(invalid="ignore"):
        cosines: np.ndarray = np.where(same, 1.0, products / norms)
    return cosines
