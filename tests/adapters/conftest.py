"""Tests of adapters: collected where their library is installed, and kept off the network.

`make test-adapters` installs each library in an environment of its own. No fixture here needs
transformers, so those environments do without it.
"""

import json
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

LIBRARIES = {
    "langchain": "langchain_tests",
    "lancedb": "lancedb",
    "llama_index": "llama_index",
    "mem0": "mem0",
    "mteb": "mteb",
    "sentence_transformers": "sentence_transformers",
}
collect_ignore = [folder for folder, library in LIBRARIES.items() if find_spec(library) is None]
PROMPTS = {"query": "query: ", "document": "passage: "}
TEXTS = ["A cat sleeps on the sofa.", "The stock market fell today.", "He plays the guitar."]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever connects to another machine, or looks one up, fails."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"a test reached for the network: {args[-1]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="session")
def text_model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real MiniLM with a prompt for queries and one for documents, as a weight table."""
    from llm_compression import convert

    folder = tmp_path_factory.mktemp("prompted") / "checkpoint"
    shutil.copytree(minilm, folder, ignore=shutil.ignore_patterns(".cache"))
    config = folder / "config_sentence_transformers.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "prompts": PROMPTS}))
    return convert(folder, folder.parent / "minilm.parquet").path


@pytest.fixture(scope="session")
def clip_model() -> Path:
    """A tiny random CLIP as a weight table."""
    return ROOT / "tests/parity/golden/clip.parquet"


@pytest.fixture(scope="session")
def whisper_model() -> Path:
    """A tiny random Whisper, its encoder, as a weight table."""
    return ROOT / "tests/parity/golden/whisper.parquet"


@pytest.fixture
def workplace(
    text_model: Path, clip_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The current folder, with ``models/minilm.parquet`` and ``models/clip.parquet`` in it."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "minilm.parquet").symlink_to(text_model)
    (models / "clip.parquet").symlink_to(clip_model)
    monkeypatch.chdir(tmp_path)
    return tmp_path
