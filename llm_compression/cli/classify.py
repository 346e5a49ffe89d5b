"""``classify``: the most likely of some labels for each image, without training."""

import argparse
import json
from pathlib import Path

from llm_compression.cli.engines import add_model_arguments, add_on_error
from llm_compression.cli.media import image_files
from llm_compression.cli.tables import image_table
from llm_compression.cli.texts import one_line, read_lines
from llm_compression.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model_arguments(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files or folders")
    labels = parser.add_mutually_exclusive_group(required=True)
    labels.add_argument("--labels", nargs="+", metavar="LABEL", help="the classes")
    labels.add_argument("--labels-file", metavar="FILE", help="one class a line")
    parser.add_argument(
        "--template",
        action="append",
        metavar="TEXT",
        help="what is said of a class, with {} for it; several are averaged; "
        'default: "a photo of a {}."',
    )
    add_on_error(parser)
    parser.add_argument("--top-k", type=int, default=5, help="labels shown; default: 5")
    parser.add_argument("--json", action="store_true", help="JSON lines with every probability")


def run(arguments: argparse.Namespace) -> int:
    """Print the best labels of each image."""
    if arguments.top_k < 1:
        raise InputError(f"--top-k is {arguments.top_k}; it must be at least 1")
    from llm_compression.engine.clip_engine import CLIPEngine
    from llm_compression.engine.zero_shot import TEMPLATE

    files = image_files(arguments.images)
    engine = CLIPEngine.from_pretrained(
        arguments.model, compute_dtype=arguments.compute_dtype, device=arguments.device
    )
    labels = arguments.labels or read_lines(Path(arguments.labels_file))
    classes = engine.class_embeddings(labels, templates=arguments.template or TEMPLATE)
    table = image_table(engine.vision, files, arguments, normalized=True)
    found = engine.zero_shot_classification(table.vectors, classes)
    for file, row in zip(table.sources, found.tolist(), strict=True):
        ranked = sorted(zip(classes.names, row, strict=True), key=lambda pair: -pair[1])
        if arguments.json:
            print(json.dumps({"image": str(file), "labels": dict(ranked)}, ensure_ascii=False))
        else:
            print(file)
            for label, probability in ranked[: arguments.top_k]:
                print(f"  {probability:6.1%}  {one_line(label, 60)}")
    return 0
