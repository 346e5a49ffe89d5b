"""The bounds of parity, one row for each type that the core computes in."""

from dataclasses import dataclass, replace

from llm_compression.spec.model import Family


@dataclass(frozen=True)
class Tolerance:
    """Bounds that every vector of every tap must keep; None is no bound.

    ``absolute`` is for every element; ``relative`` is that error over the tap's largest value.
    Where rounding alone moves the reference (`holds`), ``relative`` cannot ask for less than it.
    ``embedding`` is the cosine of embeddings, where some states keep less of their direction.
    """

    absolute: float | None
    relative: float | None
    cosine: float
    embedding: float | None = None

    def __str__(self) -> str:
        named = {"abs": self.absolute, "rel": self.relative}
        bounds = [f"{name} <= {bound:g}" for name, bound in named.items() if bound is not None]
        cosines = [f"cosine >= {self.cosine:g}"]
        cosines += [f"of embeddings >= {self.embedding:g}"] if self.embedding else []
        return ", ".join([*bounds, *cosines])

    def of(self, tap: str) -> "Tolerance":
        """The bounds of one tap."""
        if self.embedding is None or tap not in ("pooled", "embedding"):
            return self
        return replace(self, cosine=self.embedding)

    def holds(
        self, absolute: float, relative: float, cosine: float, noise: float | None = None
    ) -> bool:
        """Whether measured errors keep the bounds; NaN keeps none.

        ``noise`` is how far the reference moves, over the tap's largest value, when the last bits
        of its own input change.
        """
        return (
            cosine >= self.cosine
            and (self.absolute is None or absolute <= self.absolute)
            and (self.relative is None or relative <= max(self.relative, _ROUNDINGS * (noise or 0)))
        )


# A changed input is one rounding in front of every block, and each operator of both sides rounds
# again: four times its effect is about twice what two right computations were seen to differ by.
_ROUNDINGS = 4
# float32: the two sides only sum in different orders, and CLIP's hidden states, which no norm
# bounds, grow larger than BERT's. Whisper's reach 500 between the blocks and 24 at the end, where
# 4e-5 of the largest is 1e-3; where a sound's states are small beside the largest, a last bit of
# its frames moves transformers itself by more (5e-5 on a sweep), which `holds` allows for.
# bfloat16 keeps 8 bits of mantissa through every block, and an MLP's largest activations reach
# 160, so its bound is relative.
_FLOAT32 = {
    Family.BERT: Tolerance(absolute=2e-5, relative=None, cosine=0.999999),
    Family.CLIP: Tolerance(absolute=5e-5, relative=None, cosine=0.999999),
    Family.WHISPER: Tolerance(absolute=None, relative=4e-5, cosine=0.999999),
}
_BFLOAT16 = {
    Family.BERT: Tolerance(absolute=None, relative=0.03, cosine=0.999, embedding=0.9995),
    Family.CLIP: Tolerance(absolute=None, relative=0.03, cosine=0.999, embedding=0.9995),
    # states of silence are small beside those that reach 500, and 8 bits leave little of them;
    # transformers in bfloat16 is as far off, and the means over what hears agree to 0.9999
    Family.WHISPER: Tolerance(absolute=None, relative=0.3, cosine=0.8, embedding=0.9995),
}
# float16 keeps three bits more: an eighth of bfloat16's error, with a cosine off by its square.
_FLOAT16 = {
    Family.BERT: Tolerance(absolute=None, relative=0.004, cosine=0.9999),
    Family.CLIP: Tolerance(absolute=None, relative=0.004, cosine=0.9999),
    Family.WHISPER: Tolerance(absolute=None, relative=0.04, cosine=0.99, embedding=0.9995),
}
# int8 rounds every factor of every product of a block. Its bounds are for the model as a whole;
# states of silence in Whisper, small beside others, keep no direction at all.
_INT8 = {
    Family.BERT: Tolerance(absolute=None, relative=0.15, cosine=0.95, embedding=0.99),
    Family.CLIP: Tolerance(absolute=None, relative=0.15, cosine=0.95, embedding=0.99),
    Family.WHISPER: Tolerance(absolute=None, relative=1.5, cosine=-1.0, embedding=0.99),
}
_BOUNDS = {"float32": _FLOAT32, "bfloat16": _BFLOAT16, "float16": _FLOAT16, "int8": _INT8}
_LOGITS = Tolerance(absolute=1e-3, relative=None, cosine=0.999999)


def tolerance_of(family: Family, compute_dtype: str) -> Tolerance:
    """The bounds for the taps of a family that computes in ``compute_dtype``."""
    return _BOUNDS[compute_dtype][family]


def logits_tolerance(compute_dtype: str) -> Tolerance:
    """The bounds for logits, cosines times a temperature of up to 100."""
    return _LOGITS if compute_dtype == "float32" else tolerance_of(Family.CLIP, compute_dtype)
