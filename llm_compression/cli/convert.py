"""``convert``: turn a checkpoint into a weight table, verified bit for bit."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby

from llm_compression.spec.names import FLOAT_DTYPES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments, each by position or as an option."""
    parser.add_argument("checkpoint", nargs="?", help="checkpoint folder or hub id")
    parser.add_argument("target", nargs="?", help="file to write, or an existing folder")
    parser.add_argument("--model", help="the checkpoint, as an option")
    parser.add_argument("--output", help="the file to write, as an option")
    parser.add_argument(
        "--dtype", choices=FLOAT_DTYPES, help="stored type; default: the source's own"
    )
    parser.add_argument(
        "--keep-decoder",
        action="store_true",
        help="keep Whisper's decoder too, which embeddings do not need, for `export`",
    )
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--cache-dir", help="the hub's download cache")
    parser.add_argument(
        "--offline", action="store_true", help="use only what was downloaded before"
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert and say what was verified."""
    source = _one(arguments, "checkpoint", "model")
    output = _one(arguments, "target", "output")
    from llm_compression.cli.progress import show_progress
    from llm_compression.conversion.convert import convert

    report = convert(
        source,
        output,
        dtype=arguments.dtype,
        keep_decoder=arguments.keep_decoder,
        revision=arguments.revision,
        cache_dir=arguments.cache_dir,
        local_files_only=arguments.offline,
        progress=show_progress(),
    )
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    for line in left_out(report.dropped):
        print(f"left out: {line}")
    print(f"fingerprint: {report.fingerprint}")
    as_stored = f"(as {arguments.dtype}) " if arguments.dtype else ""
    ratio = report.stored_bytes / report.source_bytes
    print(
        f"size: {report.stored_bytes / 1e6:.1f} MB, {ratio:.3f} of the checkpoint's "
        f"{report.source_bytes / 1e6:.1f} MB"
    )
    print(
        f"verified: {report.tensors} tensors, {report.parameters:,} values, reopened from "
        f"{report.path} and compared with the source {as_stored}bit for bit"
    )
    return 0


def left_out(dropped: Sequence[str]) -> Iterator[str]:
    """The tensors one by one, or the first of several that share a reason."""
    for reason, lines in groupby(dropped, key=lambda line: line.partition(": ")[2]):
        first, *more = (line.partition(": ")[0] for line in lines)
        yield f"{first}{f' and {len(more)} more' if more else ''}: {reason}"


def _one(arguments: argparse.Namespace, position: str, option: str) -> str:
    given = [v for v in (getattr(arguments, position), getattr(arguments, option)) if v]
    if len(given) != 1:
        arguments.usage_error(f"give {position.upper()} once, by position or as --{option}")
    return str(given[0])
