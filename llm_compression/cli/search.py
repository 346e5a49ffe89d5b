"""``search``: rank texts, images or sounds by their similarity to a query."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llm_compression.cli.contact_sheet import check_sheet, write_sheet
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
from llm_compression.cli.tables import (
    batch_size,
    encode_options,
    identity_of,
    image_table,
    sound_table,
    vector_table,
)
from llm_compression.cli.texts import gather, one_line
from llm_compression.cli.times import spans
from llm_compression.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from llm_compression.engine.arrow_engine import ArrowEngine
    from llm_compression.memory.identity import VectorIdentity
    from llm_compression.memory.vector_table import VectorTable
    from llm_compression.multimodal.audio.encoder import AudioEncoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_engine_arguments(parser)
    parser.add_argument("query", help="what to look for; among sounds, a sound file")
    parser.add_argument(
        "--in",
        dest="corpus",
        metavar="FILE",
        help=("text file, one a line, or a .parquet of `embed`; default: lines of stdin"),
    )
    add_media_arguments(parser)
    parser.add_argument(
        "--sheet", metavar="FILE", help="write the images found as a .png or .html to look at"
    )
    parser.add_argument("--top-k", type=int, default=5, help="matches shown; default: 5")
    parser.add_argument("--json", action="store_true", help="JSON lines")


def run(arguments: argparse.Namespace) -> int:
    """Print the best matches, best first."""
    _check(arguments)
    import numpy as np

    stored = _stored(arguments)
    if arguments.audio or (stored and stored.identity.modality == "audio"):
        corpus, scores = _by_sound(arguments, stored)
    else:
        corpus, scores = _by_text(arguments, stored)
    best = np.argsort(-scores, kind="stable")[: arguments.top_k].tolist()
    _print(corpus, scores, best, as_json=arguments.json)
    if arguments.sheet:
        found = [(float(scores[row]), corpus.sources[row]) for row in best]
        write_sheet(Path(arguments.sheet), arguments.query, found)
    return 0


def _by_text(
    arguments: argparse.Namespace, stored: "VectorTable | None"
) -> "tuple[VectorTable, np.ndarray]":
    """Texts or images, and the score of each for a text."""
    only_for_sounds(arguments)
    engine = open_engine(arguments)
    corpus = _images(arguments) if arguments.images else _corpus(engine, arguments, stored)
    if arguments.sheet:
        _check_corpus(corpus, arguments.sheet)
    query = engine.encode_query(arguments.query, **encode_options(arguments))
    return corpus, engine.similarity(query, corpus.vectors)[0]


def _by_sound(
    arguments: argparse.Namespace, stored: "VectorTable | None"
) -> "tuple[VectorTable, np.ndarray]":
    """Windows of sounds, and the cosine of each with a sound."""
    from llm_compression.metrics.similarity import similarity
    from llm_compression.spec.model import Similarity

    if arguments.sheet:
        raise InputError("--sheet shows images, not sounds")
    only_for_texts(arguments, "sounds")
    if not Path(arguments.query).is_file():
        raise InputError(f"no sound file at {arguments.query}; sounds are searched for by a sound")
    files = sound_files(arguments.audio) if arguments.audio else []
    encoder = _open_like(arguments, stored.identity) if stored else open_audio(arguments)
    query = encoder.encode(arguments.query, batch_size=batch_size(arguments, 4))
    corpus = stored or sound_table(encoder, files, arguments)
    return corpus, similarity(Similarity.COSINE, query, corpus.vectors)[0]


def _open_like(arguments: argparse.Namespace, stored: "VectorIdentity") -> "AudioEncoder":
    """The encoder that makes vectors like those of ``--in``.

    Raises:
        InputError: they were made differently, or in a way that the model has not.
    """
    from llm_compression.memory.identities import sound_identity

    encoder = open_audio(arguments)  # as the arguments say, before what the file says is believed
    own = sound_identity(encoder, normalized=stored.normalized)  # which a cosine does not see
    ways = {"audio_mode": arguments.audio_mode, "window": arguments.window,
            "overlap": arguments.overlap}  # fmt: skip
    open_ways = {name: getattr(stored, name) for name, v in ways.items() if v is None}
    replace(own, **open_ways).check(stored, arguments.corpus)
    try:
        return open_audio(arguments, stored)
    except InputError as error:
        raise InputError(f"the vectors in {arguments.corpus} cannot be met: {error}") from error


def _check(arguments: argparse.Namespace) -> None:
    if arguments.top_k < 1:
        raise InputError(f"--top-k is {arguments.top_k}; it must be at least 1")
    for option in ("images", "audio"):
        if getattr(arguments, option) and arguments.corpus:
            raise InputError(f"give --in or --{option}, not both")
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


def _stored(arguments: argparse.Namespace) -> "VectorTable | None":
    """The vectors of ``--in``, if it holds vectors."""
    from llm_compression.memory.vector_table import VectorTable

    if arguments.corpus and Path(arguments.corpus).suffix == ".parquet":
        return VectorTable.read(Path(arguments.corpus))
    return None


def _corpus(
    engine: "ArrowEngine", arguments: argparse.Namespace, table: "VectorTable | None"
) -> "VectorTable":
    from llm_compression.memory.identities import image_identity

    if table is not None:
        if table.identity.modality == "image":
            normalized = bool(arguments.normalize)
            own = image_identity(open_vision(arguments), normalized=normalized)
            own.check(table.identity, arguments.corpus)
            return table
        identity_of(engine, arguments).check(table.identity, arguments.corpus)
        return table
    texts = gather([], arguments.corpus)
    return vector_table(engine, arguments, texts, engine.prompt_texts.document)


def _print(corpus: "VectorTable", scores: "np.ndarray", best: list[int], *, as_json: bool) -> None:
    starts, stops = ([column[row] for row in best] if column else []
                     for column in (corpus.starts, corpus.stops))  # fmt: skip
    times = spans(starts, stops)
    for place, row in enumerate(best):
        source, score = corpus.sources[row], float(scores[row])
        if as_json:
            found = {"rank": place + 1, "score": score, corpus.identity.modality: source}
            of_sound = {"start": starts[place], "stop": stops[place]} if times else {}
            print(json.dumps({**found, **of_sound}, ensure_ascii=False))
        else:
            beside = f"  {times[place]}" if times else ""
            print(f"{place + 1:>3}  {score:7.4f}{beside}  {one_line(source)}")
