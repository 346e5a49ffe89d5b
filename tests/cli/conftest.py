"""Fixtures: the command line called in this process, and texts for it."""

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_compression.cli.main import main
from tests.conftest import CheckpointFactory

TEXTS = ["the cat sits on a mat.", "a dog runs", "unable!", "red and blue park", "the the the"]


@dataclass(frozen=True)
class Outcome:
    """Exit status and what was printed."""

    status: int
    out: str
    err: str

    def error(self, status: int) -> str:
        """The one sentence that a failure is told in."""
        assert self.status == status, self
        assert self.out == ""
        assert self.err.startswith("llm-compression: error: ")
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("llm-compression: error: ").rstrip("\n")

    def usage_error(self) -> str:
        """The sentence below the usage that argparse prints."""
        assert self.status == 2, self
        assert self.out == ""
        assert self.err.startswith("usage: llm-compression")
        return self.err.splitlines()[-1]


Cli = Callable[..., Outcome]


def rows(out: str) -> list[dict[str, Any]]:
    """What JSON lines say."""
    return [json.loads(line) for line in out.split("\n") if line]


def vectors(out: str) -> np.ndarray:
    """The embeddings of JSON lines, (n, d)."""
    return np.array([row["embedding"] for row in rows(out)], np.float32)


class Terminal(io.StringIO):
    """Standard input that somebody could type into."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs ``llm-compression`` with arguments; ``stdin`` is bytes, or None for a terminal."""

    def run(*arguments: object, stdin: bytes | None = None) -> Outcome:
        pipe = Terminal() if stdin is None else io.TextIOWrapper(io.BytesIO(stdin))
        monkeypatch.setattr(sys, "stdin", pipe)
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def texts_file(tmp_path: Path) -> Path:
    """Texts, one a line."""
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def prompted_table(make_checkpoint: CheckpointFactory, tmp_path_factory) -> Path:
    """A model with prompts, one of them its default."""
    from llm_compression import convert

    folder = make_checkpoint(prompts={"query": "query: ", "passage": "passage: "}, seed=3)
    return convert(folder, tmp_path_factory.mktemp("prompted") / "prompted.parquet").path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where to write to: in a folder of its own, so that litter shows."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "model.parquet"
