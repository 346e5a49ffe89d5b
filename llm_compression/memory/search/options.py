"""SearchOptions: what is looked for, how, and how much of it."""

from dataclasses import dataclass, field
from datetime import datetime
from numbers import Real
from typing import Any

from llm_compression.errors import InputError
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.snapshot import Selection
from llm_compression.multimodal.inputs import check_choice, check_count

METRICS = ("cosine", "dot")
METHODS = ("exact", "int8", "binary", "approximate")
OVERSAMPLE = {"exact": 1, "int8": 4, "binary": 64, "approximate": 2}


@dataclass(frozen=True)
class Match:
    """A stored row and its score; ``metadata`` is what was stored with it."""

    embedding_id: str
    source: str
    score: float
    modality: str
    model: str
    timestamp: datetime
    duration_seconds: float | None
    metadata: dict[str, Any]


@dataclass(frozen=True)
class SearchOptions:
    """How `search` works.

    Args:
        top_k: matches of each query.
        threshold: leave out what scores less than this number.
        metric: ``cosine`` or ``dot``.
        method: ``exact`` compares with every row in float32; ``int8`` and ``binary`` compare with
            every row in few bits, then score the best again in float32; ``approximate`` asks the
            index for candidates, which are scored in float32.
        dim: compare the first values only, as Matryoshka models are trained for; ``exact`` alone.
        oversample: candidates of the first pass for each match wanted; None takes what the
            benchmarks found to be enough for recall 0.99 (``approximate`` 0.95).
        selection: rows that may be found.
        identity: rows whose vectors were made so; None if the dataset has but one kind.
    """

    top_k: int = 10
    threshold: float | None = None
    metric: str = "cosine"
    method: str = "exact"
    dim: int | None = None
    oversample: int | None = None
    selection: Selection = field(default_factory=Selection)
    identity: VectorIdentity | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("metric", METRICS), ("method", METHODS)):
            check_choice(getattr(self, name), name, allowed)
        self._check_numbers()
        if self.dim is not None and self.method != "exact":
            raise InputError("dim goes with method='exact'; the other methods have their own cut")
        if self.oversample is not None and self.method == "exact":
            raise InputError("oversample goes with a method that has a first pass, not 'exact'")
        if self.metric != "cosine" and self.method == "approximate":
            raise InputError("the approximate index knows cosines only; use another method for dot")

    def _check_numbers(self) -> None:
        for name in ("top_k", "dim", "oversample"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_count(getattr(self, name), name))
        least = self.threshold
        if least is not None and (
            isinstance(least, bool) or not isinstance(least, Real) or least != least  # noqa: PLR0124
        ):
            raise InputError(f"threshold is {least!r}; it must be a number")
        try:
            object.__setattr__(self, "threshold", None if least is None else float(least))
        except OverflowError:
            raise InputError("threshold is an integer beyond every score; give another") from None

    @property
    def candidates(self) -> int:
        """Rows of each query that a first pass over all keeps, or an index of some is asked for."""
        return self.top_k * (self.oversample or OVERSAMPLE[self.method])

    @property
    def scores_again(self) -> bool:
        """Whether the scores of the first pass are not those in float32."""
        return self.method in ("int8", "binary")

    @property
    def kept(self) -> int:
        """Rows of each query that the first pass keeps."""
        return self.candidates if self.scores_again else self.top_k
