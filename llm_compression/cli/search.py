"""``search``: rank texts or images by their similarity to a query."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from llm_compression.cli.contact_sheet import check_sheet, write_sheet
from llm_compression.cli.engines import (
    add_engine_arguments,
    add_image_arguments,
    encode_options,
    identity_of,
    image_identity,
    image_table,
    open_engine,
    open_vision,
    vector_table,
)
from llm_compression.cli.images import image_files
from llm_compression.cli.outputs import keep_inputs
from llm_compression.cli.texts import gather, one_line
from llm_compression.errors import InputError

if TYPE_CHECKING:
    from llm_compression.engine.arrow_engine import ArrowEngine
    from llm_compression.memory.vector_table import VectorTable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_engine_arguments(parser)
    parser.add_argument("query", help="what to look for")
    parser.add_argument(
        "--in",
        dest="corpus",
        metavar="FILE",
        help=("text file, one a line, or a .parquet of `embed`; default: lines of stdin"),
    )
    add_image_arguments(parser)
    parser.add_argument(
        "--sheet", metavar="FILE", help="write the images found as a .png or .html to look at"
    )
    parser.add_argument("--top-k", type=int, default=5, help="matches shown; default: 5")
    parser.add_argument("--json", action="store_true", help="JSON lines")


def run(arguments: argparse.Namespace) -> int:
    """Print the best matches, best first."""
    _check(arguments)
    import numpy as np

    engine = open_engine(arguments)
    corpus = _images(arguments) if arguments.images else _corpus(engine, arguments)
    if arguments.sheet:
        _check_corpus(corpus, arguments.sheet)
    query = engine.encode_query(arguments.query, **encode_options(arguments))
    scores = engine.similarity(query, corpus.vectors)[0]
    best = np.argsort(-scores, kind="stable")[: arguments.top_k]
    found = [(float(scores[row]), corpus.sources[row]) for row in best]
    for rank, (score, source) in enumerate(found, start=1):
        _print(rank, score, source, corpus.identity.modality, as_json=arguments.json)
    if arguments.sheet:
        write_sheet(Path(arguments.sheet), arguments.query, found)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.top_k < 1:
        raise InputError(f"--top-k is {arguments.top_k}; it must be at least 1")
    if arguments.images and arguments.corpus:
        raise InputError("give --in or --images, not both")
    if arguments.corpus and Path(arguments.corpus).suffix in (".jsonl", ".ndjson"):
        raise InputError(
            f"{arguments.corpus} holds JSON lines; search takes texts, or a .parquet of `embed`"
        )
    if arguments.sheet:
        check_sheet(Path(arguments.sheet))
        keep_inputs(arguments.sheet, arguments.model, arguments.corpus)


def _check_corpus(corpus: "VectorTable", sheet: str) -> None:
    if corpus.identity.modality != "image":
        raise InputError("--sheet shows images; search with --images, or --in their vectors")
    keep_inputs(sheet, *corpus.sources)


def _images(arguments: argparse.Namespace) -> "VectorTable":
    if arguments.truncate_dim:
        raise InputError("--truncate-dim is for texts, not for --images")
    files = image_files(arguments.images)
    normalized = bool(arguments.normalize)
    return image_table(open_vision(arguments), files, arguments, normalized=normalized)


def _corpus(engine: "ArrowEngine", arguments: argparse.Namespace) -> "VectorTable":
    from llm_compression.memory.vector_table import VectorTable

    if arguments.corpus and Path(arguments.corpus).suffix == ".parquet":
        table = VectorTable.read(Path(arguments.corpus))
        if table.identity.modality == "image":
            normalized = bool(arguments.normalize)
            own = image_identity(open_vision(arguments), normalized=normalized)
            own.check(table.identity, arguments.corpus)
            return table
        identity_of(engine, arguments, "float32").check(table.identity, arguments.corpus)
        if table.prompt != engine.prompt_texts.document:
            raise InputError(
                f"{arguments.corpus} was embedded with prompt {table.prompt!r}, this model's "
                f"documents want {engine.prompt_texts.document!r}; embed again with --prompt"
            )
        return table
    texts = gather([], arguments.corpus)
    return vector_table(engine, arguments, texts, engine.prompt_texts.document)


def _print(rank: int, score: float, source: str, modality: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"rank": rank, "score": score, modality: source}, ensure_ascii=False))
    else:
        print(f"{rank:>3}  {score:7.4f}  {one_line(source)}")
