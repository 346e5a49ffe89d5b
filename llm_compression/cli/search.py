"""``search``: rank texts by their similarity to a query."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from llm_compression.cli.engines import (
    add_engine_arguments,
    encode_options,
    identity_of,
    open_engine,
    vector_table,
)
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
    parser.add_argument("--top-k", type=int, default=5, help="matches shown; default: 5")
    parser.add_argument("--json", action="store_true", help="JSON lines")


def run(arguments: argparse.Namespace) -> int:
    """Print the best matches, best first."""
    if arguments.top_k < 1:
        raise InputError(f"--top-k is {arguments.top_k}; it must be at least 1")
    import numpy as np

    engine = open_engine(arguments)
    corpus = _corpus(engine, arguments)
    query = engine.encode_query(arguments.query, **encode_options(arguments))
    scores = engine.similarity(query, corpus.vectors)[0]
    for rank, row in enumerate(np.argsort(-scores, kind="stable")[: arguments.top_k], start=1):
        _print(rank, float(scores[row]), corpus.texts[row], as_json=arguments.json)
    return 0


def _corpus(engine: "ArrowEngine", arguments: argparse.Namespace) -> "VectorTable":
    from llm_compression.memory.vector_table import VectorTable

    if arguments.corpus and Path(arguments.corpus).suffix == ".parquet":
        table = VectorTable.read(Path(arguments.corpus))
        identity_of(engine, arguments, "float32").check(table.identity, arguments.corpus)
        if table.prompt != engine.prompt_texts.document:
            raise InputError(
                f"{arguments.corpus} was embedded with prompt {table.prompt!r}, this model's "
                f"documents want {engine.prompt_texts.document!r}; embed again with --prompt"
            )
        return table
    texts = gather([], arguments.corpus)
    return vector_table(engine, arguments, texts, engine.prompt_texts.document)


def _print(rank: int, score: float, text: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"rank": rank, "score": score, "text": text}, ensure_ascii=False))
    else:
        print(f"{rank:>3}  {score:7.4f}  {one_line(text)}")
