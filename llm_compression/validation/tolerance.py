"""The bounds of parity, one row for each type that the core computes in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Bounds that every vector of every tap must keep; None is no bound.

    ``absolute`` is for every element; ``relative`` is that error over the tap's largest value.
    """

    absolute: float | None
    relative: float | None
    cosine: float

    def __str__(self) -> str:
        named = {"abs": self.absolute, "rel": self.relative}
        bounds = [f"{name} <= {bound:g}" for name, bound in named.items() if bound is not None]
        return ", ".join([*bounds, f"cosine >= {self.cosine:g}"])

    def holds(self, absolute: float, relative: float, cosine: float) -> bool:
        """Whether measured errors keep the bounds; NaN keeps none."""
        return (
            cosine >= self.cosine
            and (self.absolute is None or absolute <= self.absolute)
            and (self.relative is None or relative <= self.relative)
        )


# float32: the two sides only sum in different orders. bfloat16 keeps 8 bits of mantissa through
# every block, and an MLP's largest activations reach 160, so its bound is relative.
TOLERANCES = {
    "float32": Tolerance(absolute=2e-5, relative=None, cosine=0.999999),
    "bfloat16": Tolerance(absolute=None, relative=0.03, cosine=0.999),
}
