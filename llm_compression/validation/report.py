"""validate: a model against its reference, tap by tap, as a table and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from llm_compression.conversion.hub import resolve
from llm_compression.conversion.sentence_transformers import read_modules
from llm_compression.engine.arrow_engine import ArrowEngine
from llm_compression.errors import ParityError
from llm_compression.validation.compare import TapComparison, compare_tap
from llm_compression.validation.reference import Reference, run_reference
from llm_compression.validation.tolerance import TOLERANCES, Tolerance
from llm_compression.weights.reader import WeightTable

SAMPLE_TEXTS = (
    "A cat sits on the mat.",
    "Two dogs are running through a field of snow.",
    "a",
    "",
    "The quick brown fox jumps over the lazy dog; 42 times, in 3.14 seconds!",
    "Ein Vogel singt über dem Fluß, naïve café résumé.",
    "東京は日本の首都です。",
    "Привет, мир! مرحبا بالعالم",
    "emoji 🙂🚀 and\ttabs\nand newlines",
    "def encode(inputs): return [model(x) for x in inputs]",
    "antidisestablishmentarianism floccinaucinihilipilification",
    "www.example.org/path?query=1&other=2",
    "UPPER CASE AND lower case AND MiXeD",
    "one two three four five six seven eight nine ten " * 8,
    "A sentence far beyond the maximum length of the model. " * 60,
)


@dataclass(frozen=True)
class ValidationReport:
    """The outcome; ``passed`` when ids agree and every tap is within its bounds."""

    model: str
    fingerprint: str
    reference: str
    compute_dtype: str
    texts: int
    tokens: int
    same_tokens: bool
    tolerance: Tolerance
    taps: tuple[TapComparison, ...]

    @property
    def passed(self) -> bool:
        """Whether every bound holds."""
        return self.same_tokens and all(tap.passed for tap in self.taps)

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps({**asdict(self), "passed": self.passed}, indent=2)

    def to_table(self) -> str:
        """The report as text, a line for each tap."""
        head = f"{'tap':<16}{'n':>6}{'max abs':>11}{'max rel':>11}{'cosine min':>13}{'mean':>12}"
        rows = [
            f"{t.name:<16}{t.n:>6}{t.absolute:>11.2e}{t.relative:>11.2e}"
            f"{t.cosine_min:>13.9f}{t.cosine_mean:>12.9f}{'' if t.passed else '  FAILED'}"
            for t in self.taps
        ]
        return "\n".join([head, *rows, self._summary()])

    def _summary(self) -> str:
        ids = "token ids agree" if self.same_tokens else "TOKEN IDS DIFFER"
        verdict = "passed" if self.passed else "FAILED"
        counts = f"{self.texts} texts, {self.tokens} tokens"
        bounds = f"{self.compute_dtype}, {self.tolerance}"
        return f"{verdict}: {len(self.taps)} taps, {counts}, {ids}, {bounds}"


def validate(
    model: str | Path,
    reference: str | Path,
    *,
    texts: Sequence[str] = SAMPLE_TEXTS,
    compute_dtype: str = "float32",
    tolerance: Tolerance | None = None,
) -> ValidationReport:
    """Compare every tap of a weight table with transformers on the checkpoint it came from.

    Raises:
        MissingDependencyError: transformers is not installed.
        ParityError: the reference cannot be loaded or is another architecture.
    """
    if not texts:
        raise ParityError("validation needs at least one text")
    folder = resolve(reference).folder
    checkpoint = folder / read_modules(folder).transformer
    table = WeightTable(model)
    engine = ArrowEngine(model, compute_dtype=compute_dtype, truncation="ok", mapped=False)
    expected = run_reference(checkpoint, engine.spec, table.manifest.tensors, texts)
    bounds = tolerance or TOLERANCES[compute_dtype]
    same_tokens = _same_tokens(engine, expected, texts)
    return ValidationReport(
        model=str(model),
        fingerprint=engine.fingerprint,
        reference=str(reference),
        compute_dtype=compute_dtype,
        texts=len(texts),
        tokens=int(expected.mask.sum()),
        same_tokens=same_tokens,
        tolerance=bounds,
        # other tokens have other states: there is nothing to compare
        taps=_compare(engine, expected, texts, bounds) if same_tokens else (),
    )


def _compare(
    engine: ArrowEngine, expected: Reference, texts: Sequence[str], bounds: Tolerance
) -> tuple[TapComparison, ...]:
    ours = engine.taps(texts)
    if set(ours) != set(expected.taps):
        raise ParityError(f"taps differ: {sorted(set(ours) ^ set(expected.taps))}")
    real = expected.mask
    return tuple(
        compare_tap(name, _rows(value, real), _rows(expected.taps[name], real), bounds)
        for name, value in ours.items()
    )


def _rows(tap: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(B, T, D) -> one row for each real token; (B, E) stays."""
    return tap[real] if tap.ndim == 3 and tap.shape[:2] == real.shape else tap


def _same_tokens(engine: ArrowEngine, expected: Reference, texts: Sequence[str]) -> bool:
    reference = [row[real].tolist() for row, real in zip(expected.ids, expected.mask, strict=True)]
    return engine.token_ids(texts) == reference
