"""VectorIdentity: what must agree before two vectors may be compared."""

from dataclasses import dataclass, fields

from llm_compression.errors import InputError
from llm_compression.spec.codec import later


@dataclass(frozen=True)
class VectorIdentity:
    """How vectors were made; kept with them, and compared before they are searched."""

    model: str  # fingerprint
    compute_dtype: str
    max_seq_length: int  # of texts; else 0
    dimension: int
    normalized: bool
    precision: str
    modality: str = later(default="text")
    audio_mode: str = later(default="")  # of sounds, as are the seconds of windows and overlaps
    window: float = later(default=0.0)
    overlap: float = later(default=0.0)

    def check(self, other: "VectorIdentity", where: str) -> None:
        """Refuse vectors that were made differently.

        Raises:
            InputError: names every difference, both sides.
        """
        different = [
            f"{f.name} is {getattr(other, f.name)!r} there, {getattr(self, f.name)!r} here"
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        ]
        if different:
            raise InputError(
                f"the vectors in {where} were made differently: {'; '.join(different)}; embed again"
            )
