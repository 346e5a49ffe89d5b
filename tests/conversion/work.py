"""What the tests' other processes do: module-level functions, so that they can be named to them."""

import os
import resource
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_compression.cli.main import main
from llm_compression.conversion.convert import convert
from llm_compression.conversion.export import export
from llm_compression.engine.arrow_engine import ArrowEngine
from llm_compression.errors import LLMCompressionError
from llm_compression.weights.reader import WeightTable


@dataclass(frozen=True)
class Converted:
    """What a conversion left."""

    fingerprint: str
    source: str
    revision: str | None


@dataclass(frozen=True)
class Opened:
    """An engine's weight table, and an embedding from it."""

    path: Path
    written: int
    embedding: list[float]


def set_environment(values: Mapping[str, str]) -> None:
    """Settings that huggingface_hub reads when it is imported."""
    assert "huggingface_hub" not in sys.modules
    os.environ.pop("HF_TOKEN", None)
    os.environ.update(values)


def convert_from_hub(repository: str, target: Path, **options: Any) -> Converted | str:
    """What came of it: a model, or the error."""
    try:
        convert(repository, target, **options)
    except LLMCompressionError as error:
        return f"{type(error).__name__}: {error}"
    manifest = WeightTable(target).manifest
    origin = manifest.provenance
    return Converted(manifest.fingerprint, origin.source, origin.revision)


def convert_without_patience(repository: str, target: Path) -> Converted | str:
    """As `convert_from_hub`, with no time between attempts."""
    time.sleep, sleep = lambda _: None, time.sleep
    try:
        return convert_from_hub(repository, target)
    finally:
        time.sleep = sleep


def convert_with_token_in_environment(repository: str, target: Path, token: str) -> Converted | str:
    """As `convert_from_hub`, with HF_TOKEN."""
    os.environ["HF_TOKEN"] = token
    try:
        return convert_from_hub(repository, target)
    finally:
        del os.environ["HF_TOKEN"]


def open_engine(name: str | Path, cache: Path, **options: Any) -> Opened | str:
    """What `ArrowEngine.from_pretrained` gives."""
    os.environ["LLM_COMPRESSION_CACHE"] = str(cache)
    try:
        engine = ArrowEngine.from_pretrained(name, **options)
    except LLMCompressionError as error:
        return f"{type(error).__name__}: {error}"
    embedding = engine.encode("the cat sits").tolist()
    return Opened(engine.path, engine.path.stat().st_mtime_ns, embedding)


def open_without_sockets(name: str | Path, cache: Path) -> Opened | str:
    """As `open_engine`, where no socket can be made."""

    class NoSocket(socket.socket):
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            raise LLMCompressionError("a socket was asked for")

    def no_lookup(*args: Any, **kwargs: Any) -> Any:
        raise LLMCompressionError("a name was looked up")

    socket.socket, kept = NoSocket, socket.socket  # type: ignore[misc]
    socket.getaddrinfo, lookup = no_lookup, socket.getaddrinfo
    try:
        return open_engine(name, cache)
    finally:
        socket.socket, socket.getaddrinfo = kept, lookup  # type: ignore[misc]


def run_command(arguments: list[str]) -> int:
    """The exit status of the command line."""
    return main(arguments)


def export_on_a_small_disk(table: Path, folder: Path, limit: int) -> str:
    """The error of an export that may write ``limit`` bytes to a file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        export(table, folder)
    except LLMCompressionError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"
