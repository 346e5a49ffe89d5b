"""Parity: every tap of the converted model beside transformers, in float32."""

from benchmarks.case import Case
from benchmarks.claims import Cell, Claim
from benchmarks.results import Section
from llm_compression.validation.report import ValidationReport
from llm_compression.validation.validate import validate

ABSOLUTE, RELATIVE, ANGLE = "max absolute", "max relative", "worst 1 - cosine"
WORST = "worst of all"


def measure(case: Case) -> list[Section]:
    """What `llm-compression validate` prints, as a table with its two bounds as claims."""
    report = validate(case.table, case.checkpoint)
    tokens = "token ids agree" if report.same_tokens else "TOKEN IDS DIFFER"
    return [
        Section(
            name="parity",
            title="Parity with transformers",
            note=(
                f"Hidden states after every sublayer of {report.texts} varied texts "
                f"({report.tokens} tokens; {tokens}), each vector beside that of transformers with "
                "its plain (eager) attention, both in float32: `llm-compression validate`."
            ),
            units=dict.fromkeys((ABSOLUTE, RELATIVE, ANGLE), "error"),
            samples=_samples(report),
            claims=[
                Claim("largest absolute error", (WORST, ABSOLUTE), target=2e-5, unit="error"),
                Claim("largest 1 - cosine", (WORST, ANGLE), target=1e-6, unit="error"),
            ],
            checks=[f"{len(report.taps)} taps, {'passed' if report.passed else 'FAILED'}"],
        )
    ]


def _samples(report: ValidationReport) -> dict[Cell, list[float]]:
    rows = {
        tap.name: {ABSOLUTE: tap.absolute, RELATIVE: tap.relative, ANGLE: 1 - tap.cosine_min}
        for tap in report.taps
    }
    worst = {name: max(row[name] for row in rows.values()) for name in (ABSOLUTE, RELATIVE, ANGLE)}
    return {
        (name, column): [max(value, 0.0)]  # a cosine may round to just above 1
        for name, row in {**rows, WORST: worst}.items()
        for column, value in row.items()
    }
