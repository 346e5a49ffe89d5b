"""``map``: make the memory-mapped copy of a weight table now, not on first use."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="weight table")
    parser.add_argument(
        "--beside",
        action="store_true",
        help="write it beside the model (MODEL.parquet.arrow), not into the cache folder",
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the copy, or find that it is there and right."""
    from llm_compression.files.atomic import output_errors
    from llm_compression.weights.mapping import beside, mapped_path, open_mapped
    from llm_compression.weights.reader import WeightTable

    table = WeightTable(arguments.model)
    path = beside(table) if arguments.beside else mapped_path(table)
    with output_errors(path):
        copy = open_mapped(table, path)
    print(f"mapped copy: {copy.path}, {copy.path.stat().st_size / 1e6:.1f} MB")
    return 0
