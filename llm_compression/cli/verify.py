"""``verify``: check every byte of a weight table and of its mapped copy."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="weight table")


def run(arguments: argparse.Namespace) -> int:
    """Verify and say what was checked."""
    from llm_compression.weights.mapped import MappedCopy
    from llm_compression.weights.mapping import mapped_path
    from llm_compression.weights.reader import WeightTable

    table = WeightTable(arguments.model)
    table.verify_all()
    tensors, files = table.manifest.tensors, table.manifest.files
    print(f"intact: {table.path}, {len(tensors)} tensors and {len(files)} files, every byte")
    path = mapped_path(table)
    if path.exists():
        MappedCopy(path, table.fingerprint).verify(table)
        print(f"intact: {path}, the mapped copy, every byte")
    return 0
