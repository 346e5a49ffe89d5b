"""``export``: write a model back as the Hugging Face folder that it came from."""

import argparse
import sys

from llm_compression.cli.convert import left_out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="weight table")
    parser.add_argument("folder", help="folder to make")


def run(arguments: argparse.Namespace) -> int:
    """Export and say where to."""
    from llm_compression.conversion.export import export
    from llm_compression.weights.reader import WeightTable

    dropped = WeightTable(arguments.model).manifest.provenance.dropped
    for line in left_out([f"{tensor.source}: {tensor.reason}" for tensor in dropped]):
        print(f"note: the table was made without {line}", file=sys.stderr)
    print(f"exported: {export(arguments.model, arguments.folder)}")
    return 0
