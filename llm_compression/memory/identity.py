"""VectorIdentity: what must agree before two vectors may be compared."""

from dataclasses import dataclass, fields

from llm_compression.errors import IdentityMismatchError
from llm_compression.spec import codec
from llm_compression.spec.codec import later


@dataclass(frozen=True)
class VectorIdentity:
    """How vectors were made; kept with them, and compared before they are searched.

    ``prompt`` is the one in front of what is stored; a query may have another. ``projector`` and
    ``ranges`` are digests, of the projector behind the model and of `EmbeddingRanges`. The
    device is no part of it: devices that compute in one type differ by rounding alone.
    """

    model: str  # fingerprint, or what a caller that made the vectors elsewhere calls it
    compute_dtype: str
    max_seq_length: int  # of texts; else 0
    dimension: int
    normalized: bool
    precision: str
    modality: str = later(default="text")
    audio_mode: str = later(default="")  # of sounds, as are the seconds of windows and overlaps
    window: float = later(default=0.0)
    overlap: float = later(default=0.0)
    pooling: str = later(default="")
    prompt: str = later(default="")
    projector: str = later(default="")
    ranges: str = later(default="")

    @classmethod
    def declared(
        cls, modality: str, model: str, dimension: int, *, normalized: bool, precision: str
    ) -> "VectorIdentity":
        """Of vectors made elsewhere, of which a caller knows the model's name alone."""
        return cls(model, "", 0, dimension, normalized, precision, modality)

    @property
    def key(self) -> str:
        """A short name for the identity, the same for equal ones: 16 hex digits."""
        return codec.digest(self)[:16]

    def fits(self, other: "VectorIdentity") -> bool:
        """Whether vectors of both may be compared.

        Files written before ``pooling`` was stated are compared without it; the model's
        fingerprint covers it.
        """
        return not self._differing(other)

    def _differing(self, other: "VectorIdentity") -> list[str]:
        return [
            f.name
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
            and not (f.name == "pooling" and not (self.pooling and other.pooling))
        ]

    def check(self, other: "VectorIdentity", where: str) -> None:
        """Refuse vectors that do not fit.

        Raises:
            IdentityMismatchError: names every difference, both sides.
        """
        names = self._differing(other)
        different = [
            f"{name} is {getattr(other, name)!r} there, {getattr(self, name)!r} here"
            for name in names
        ]
        if different:
            inferred = names == ["normalized"] and not self.compute_dtype  # of a model's name alone
            remedy = _STATE_LENGTH if inferred else "embed again"
            raise IdentityMismatchError(
                f"the vectors in {where} were made differently: {'; '.join(different)}; {remedy}"
            )


_STATE_LENGTH = (
    "give them unit length, or store all of them with identity=VectorIdentity.declared(modality, "
    "model, dimension, normalized=False, precision='float32')"
)
