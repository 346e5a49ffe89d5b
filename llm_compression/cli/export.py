"""``export``: write a model back as the Hugging Face folder that it came from."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="weight table")
    parser.add_argument("folder", help="folder to make")


def run(arguments: argparse.Namespace) -> int:
    """Export and say where to."""
    from llm_compression.conversion.export import export

    print(f"exported: {export(arguments.model, arguments.folder)}")
    return 0
