"""``embed``: texts or images to embeddings, as a table, JSON lines or Parquet."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from llm_compression.cli.engines import (
    add_engine_arguments,
    add_image_arguments,
    encode_options,
    image_table,
    open_engine,
    open_vision,
    vector_table,
)
from llm_compression.cli.images import image_files
from llm_compression.cli.outputs import keep_inputs
from llm_compression.cli.texts import gather, one_line
from llm_compression.errors import InputError
from llm_compression.spec.names import PRECISIONS, SCALED_PRECISIONS

if TYPE_CHECKING:
    from llm_compression.engine.arrow_engine import ArrowEngine
    from llm_compression.memory.vector_table import VectorTable
    from llm_compression.metrics.quantization import EmbeddingRanges

FORMATS = ("table", "jsonl", "parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_engine_arguments(parser)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="default: lines of stdin")
    parser.add_argument(
        "--file", help="UTF-8 file with one text a line, blank lines left out; - is stdin"
    )
    add_image_arguments(parser)
    parser.add_argument("--output", "-o", help="file to write; default, or -: the screen")
    parser.add_argument("--format", choices=FORMATS, help="default: by the output's ending")
    parser.add_argument("--prompt", help="text put in front of every input")
    parser.add_argument("--prompt-name", help="one of the model's own prompts")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS, help="what comes out")
    ranges = parser.add_mutually_exclusive_group()
    ranges.add_argument("--ranges", metavar="FILE", help="int8 and uint8 ranges to use")
    ranges.add_argument("--save-ranges", metavar="FILE", help="make ranges from these texts")


def run(arguments: argparse.Namespace) -> int:
    """Embed and write."""
    kind = _format(arguments)
    _check_ranges(arguments)
    pictures = image_files(arguments.images) if arguments.images else ()
    read = (arguments.model, arguments.file, arguments.ranges, *pictures)
    keep_inputs(arguments.output, *read)
    keep_inputs(arguments.save_ranges, *read)
    table = _embed_images(arguments) if arguments.images else _embed(arguments)
    if _to_screen(arguments):
        _print(table, kind, sys.stdout)
        return 0
    _write(table, kind, Path(arguments.output))
    count, width = table.vectors.shape
    print(f"wrote {arguments.output}: {count} vectors of {width} {table.vectors.dtype}")
    return 0


def _write(table: "VectorTable", kind: str, path: Path) -> None:
    from llm_compression.files.atomic import atomic_write, output_errors

    with output_errors(path):
        if kind == "parquet":
            table.write(path)
            return
        with atomic_write(path) as draft, draft.path.open("w", encoding="utf-8") as file:
            _print(table, kind, file)


def _check_ranges(arguments: argparse.Namespace) -> None:
    given = arguments.ranges or arguments.save_ranges
    if given and arguments.precision not in SCALED_PRECISIONS:
        raise InputError("--ranges and --save-ranges are for --precision int8 and uint8")


def _format(arguments: argparse.Namespace) -> str:
    endings = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    ending = Path(arguments.output or "").suffix
    if not _to_screen(arguments) and ending not in endings and not arguments.format:
        raise InputError(f"{arguments.output}: end in .parquet or .jsonl, or give --format")
    kind: str = arguments.format or endings.get(ending, "table")
    if kind == "parquet" and _to_screen(arguments):
        raise InputError("Parquet goes to a file; give --output FILE")
    return kind


def _to_screen(arguments: argparse.Namespace) -> bool:
    return arguments.output in (None, "-")


def _embed_images(arguments: argparse.Namespace) -> "VectorTable":
    if arguments.texts:
        raise InputError("give texts or --images, not both")
    for name in (
        "file",
        "prompt",
        "prompt_name",
        "max_seq_length",
        "truncate_dim",
        "deterministic",
    ):
        if getattr(arguments, name):
            raise InputError(f"--{name.replace('_', '-')} is for texts, not for --images")
    if arguments.precision != "float32":
        raise InputError("--precision is for texts; images come out as float32")
    files = image_files(arguments.images)
    return image_table(
        open_vision(arguments), files, arguments, normalized=bool(arguments.normalize)
    )


def _embed(arguments: argparse.Namespace) -> "VectorTable":
    texts = gather(arguments.texts, arguments.file)
    engine = open_engine(arguments)
    prompt = engine.prompt_texts.choose(arguments.prompt_name, arguments.prompt)
    ranges = _ranges(engine, arguments, texts, prompt)
    return vector_table(
        engine, arguments, texts, prompt, precision=arguments.precision, ranges=ranges
    )


def _ranges(
    engine: "ArrowEngine", arguments: argparse.Namespace, texts: list[str], prompt: str
) -> "EmbeddingRanges | None":
    from llm_compression.metrics.quantization import EmbeddingRanges

    if arguments.precision not in SCALED_PRECISIONS:
        return None
    if arguments.ranges:
        return EmbeddingRanges.load(arguments.ranges)
    made = engine.calibrate(texts, **encode_options(arguments), prompt=prompt)
    if arguments.save_ranges:
        made.save(arguments.save_ranges)
    return made


def _print(table: "VectorTable", kind: str, out: TextIO) -> None:
    of_texts = table.identity.modality == "text"
    for row, (source, vector) in enumerate(zip(table.sources, table.vectors, strict=True)):
        about: dict[str, int | bool] = {}
        if of_texts:
            about = {"tokens": table.token_counts[row], "truncated": table.truncated[row]}
        if kind == "jsonl":
            content = {table.identity.modality: source, "embedding": vector.tolist()}
            print(json.dumps({**content, **about}, ensure_ascii=False), file=out)
        else:
            numbers = " ".join(f"{value:8.4g}" for value in vector[:6].tolist())
            tokens = f" {about['tokens']:>5} tokens" if of_texts else ""
            print(f"{one_line(source, 40):<40}{tokens}  [{numbers} ...]", file=out)
