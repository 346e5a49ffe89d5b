"""``embed``: texts, images or sounds to embeddings, as a table, JSON lines or Parquet."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from llm_compression.cli.engines import (
    add_engine_arguments,
    add_media_arguments,
    only_for_sounds,
    only_for_texts,
    open_audio,
    open_engine,
    open_vision,
)
from llm_compression.cli.media import image_files, sound_files
from llm_compression.cli.outputs import keep_inputs
from llm_compression.cli.tables import encode_options, image_table, sound_table, vector_table
from llm_compression.cli.texts import gather, one_line
from llm_compression.cli.times import spans
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
    add_media_arguments(parser)
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
    files = _media(arguments)
    read = (arguments.model, arguments.file, arguments.ranges, *files)
    keep_inputs(arguments.output, *read)
    keep_inputs(arguments.save_ranges, *read)
    table = _embed_media(arguments, files) if files else _embed(arguments)
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


def _media(arguments: argparse.Namespace) -> list[Path]:
    """The files of ``--images`` or ``--audio``, none if texts are embedded."""
    if not arguments.audio:
        only_for_sounds(arguments)
    if arguments.images:
        return image_files(arguments.images)
    return sound_files(arguments.audio) if arguments.audio else []


def _embed_media(arguments: argparse.Namespace, files: list[Path]) -> "VectorTable":
    option = "--images" if arguments.images else "--audio"
    if arguments.texts:
        raise InputError(f"give texts or {option}, not both")
    for name in ("file", "prompt", "prompt_name"):
        if getattr(arguments, name):
            raise InputError(f"--{name.replace('_', '-')} is for texts, not for {option}")
    only_for_texts(arguments, option)
    if arguments.precision != "float32":
        raise InputError(f"--precision is for texts; what {option} embeds comes out as float32")
    if arguments.audio:
        return sound_table(open_audio(arguments), files, arguments)
    normalized = bool(arguments.normalize)
    return image_table(open_vision(arguments), files, arguments, normalized=normalized)


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
    times = spans(table.starts, table.stops)
    for row, (source, vector) in enumerate(zip(table.sources, table.vectors, strict=True)):
        about = _about(table, row)
        if kind == "jsonl":
            content = {table.identity.modality: source, **about, "embedding": vector.tolist()}
            print(json.dumps(content, ensure_ascii=False), file=out)
        else:
            numbers = " ".join(f"{value:8.4g}" for value in vector[:6].tolist())
            beside = ""
            if "tokens" in about:
                beside = f" {about['tokens']:>5} tokens"
            elif times:
                beside = f"  {times[row]}"
            name = one_line(source, 40, keep_end=table.identity.modality != "text")
            print(f"{name:<40}{beside}  [{numbers} ...]", file=out)


def _about(table: "VectorTable", row: int) -> dict[str, float]:
    """What is said of a row beside its source and its vector."""
    if table.identity.modality == "text":
        return {"tokens": table.token_counts[row], "truncated": table.truncated[row]}
    if table.identity.modality == "audio":
        return {"start": table.starts[row], "stop": table.stops[row]}
    return {}
