"""ValidationReport: what a comparison with the reference found, as a table and as JSON."""

import json
from dataclasses import asdict, dataclass

from llm_compression.validation.compare import TapComparison
from llm_compression.validation.tolerance import Tolerance


@dataclass(frozen=True)
class ValidationReport:
    """The outcome; ``passed`` when every tap is within its bounds and the tokens agree.

    In float32 the same best text must be found for every image, too. Taps of a model of both
    towers bear the tower's name, as in ``vision.block.00.attn``.
    """

    model: str
    fingerprint: str
    reference: str
    compute_dtype: str
    texts: int
    tokens: int
    images: int
    sounds: int
    same_tokens: bool
    same_answers: bool
    tolerance: Tolerance
    taps: tuple[TapComparison, ...]

    @property
    def passed(self) -> bool:
        """Whether every bound holds."""
        # in fewer bits the best of two that are all but equal may be the other
        agreed = self.same_tokens and (self.same_answers or self.compute_dtype != "float32")
        return agreed and all(tap.passed for tap in self.taps)

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps({**asdict(self), "passed": self.passed}, indent=2)

    def to_table(self) -> str:
        """The report as text, a line for each tap."""
        width = max([16, *(len(tap.name) + 2 for tap in self.taps)])
        columns = f"{'n':>6}{'max abs':>11}{'max rel':>11}{'cosine min':>13}{'mean':>13}"
        columns += f"{'noise':>11}" if any(tap.noise is not None for tap in self.taps) else ""
        rows = [
            f"{t.name:<{width}}{t.n:>6}{t.absolute:>11.2e}{t.relative:>11.2e}"
            f"{t.cosine_min:>13.9f}{t.cosine_mean:>13.9f}"
            f"{'' if t.noise is None else f'{t.noise:>11.2e}'}{'' if t.passed else '  FAILED'}"
            for t in self.taps
        ]
        return "\n".join([f"{'tap':<{width}}{columns}", *rows, self._summary()])

    def _summary(self) -> str:
        said = []
        if self.texts:
            agree = "token ids agree" if self.same_tokens else "TOKEN IDS DIFFER"
            said.append(f"{_count(self.texts, 'text')}, {self.tokens} tokens, {agree}")
        if self.images:
            said.append(_count(self.images, "image"))
        if self.sounds:
            said.append(_count(self.sounds, "sound"))
        if self.texts and self.images:
            differ = "ANSWERS DIFFER" if self.compute_dtype == "float32" else "some answers differ"
            said.append("answers agree" if self.same_answers else differ)
        verdict = "passed" if self.passed else "FAILED"
        bounds = f"{self.compute_dtype}, {self.tolerance}"
        return f"{verdict}: {len(self.taps)} taps, {', '.join(said)}, {bounds}"


def _count(number: int, kind: str) -> str:
    return f"{number} {kind}{'' if number == 1 else 's'}"
