"""``validate``: compare every tap of a model with transformers on its checkpoint."""

import argparse
from pathlib import Path

from llm_compression.spec.names import COMPUTE_DTYPES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="weight table")
    parser.add_argument("--reference", required=True, help="checkpoint folder or hub id")
    parser.add_argument("--texts", help="file with one text a line; default: a varied sample")
    parser.add_argument(
        "--compute-dtype",
        default="float32",
        choices=COMPUTE_DTYPES,
        help="what the core computes in",
    )
    parser.add_argument("--absolute", type=float, help="bound on the absolute error of any tap")
    parser.add_argument("--cosine", type=float, help="bound on the cosine of any vector")
    parser.add_argument("--json", metavar="FILE", help="write the report there as well")


def run(arguments: argparse.Namespace) -> int:
    """Print the table; status 1 when a bound is broken."""
    from dataclasses import replace

    from llm_compression.cli.texts import read_lines
    from llm_compression.validation.report import SAMPLE_TEXTS, validate
    from llm_compression.validation.tolerance import TOLERANCES

    bounds = TOLERANCES[arguments.compute_dtype]
    if arguments.absolute is not None:
        bounds = replace(bounds, absolute=arguments.absolute)
    if arguments.cosine is not None:
        bounds = replace(bounds, cosine=arguments.cosine)
    report = validate(
        arguments.model,
        arguments.reference,
        texts=read_lines(Path(arguments.texts)) if arguments.texts else SAMPLE_TEXTS,
        compute_dtype=arguments.compute_dtype,
        tolerance=bounds,
    )
    print(report.to_table())
    if arguments.json:
        _write(Path(arguments.json), report.to_json())
    return 0 if report.passed else 1


def _write(path: Path, report: str) -> None:
    from llm_compression.files.atomic import atomic_write, output_errors

    with output_errors(path), atomic_write(path) as draft:
        draft.path.write_text(report + "\n", encoding="utf-8")
