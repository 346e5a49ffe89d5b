"""Where ``embed`` takes its texts from, and the texts that it does not take."""

from pathlib import Path

import numpy as np
import pytest

from llm_compression import ArrowEngine
from llm_compression.memory.vector_table import VectorTable
from tests.cli.conftest import TEXTS, Cli, rows, vectors


@pytest.mark.parametrize("how", ["arguments", "file", "dash", "pipe"])
def test_texts_come_from_anywhere(how: str, cli: Cli, tiny_table: Path, texts_file: Path):
    piped = texts_file.read_bytes()
    given: dict[str, list[object]] = {
        "arguments": list(TEXTS),
        "file": ["--file", texts_file],
        "dash": ["--file", "-"],
        "pipe": [],
    }
    stdin = piped if how in ("dash", "pipe") else None
    outcome = cli("embed", tiny_table, *given[how], "--format", "jsonl", stdin=stdin)
    assert [row["text"] for row in rows(outcome.out)] == TEXTS
    own = ArrowEngine(tiny_table).encode(TEXTS)
    np.testing.assert_array_equal(vectors(outcome.out), own)


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("\ufeffthe cat\n".encode(), ["the cat"]),
        (b"the cat\r\nthe dog\r\n", ["the cat", "the dog"]),
        (b"\n\nthe cat\n   \n\t\nthe dog", ["the cat", "the dog"]),
        (b"  the cat  \n", ["  the cat  "]),
        ("the\u2028cat\x0bdog\x1cred\n".encode(), ["the\u2028cat\x0bdog\x1cred"]),
        (b"", []),
        (b"\n", []),
    ],
)
def test_lines(content: bytes, texts: list[str], cli: Cli, tiny_table: Path):
    outcome = cli("embed", tiny_table, "--format", "jsonl", stdin=content)
    assert outcome.status == 0
    assert [row["text"] for row in rows(outcome.out)] == texts


def test_options_between_positionals(cli: Cli, tiny_table: Path):
    outcome = cli("embed", "--format", "jsonl", tiny_table, "the cat", "--truncate-dim", 8, "a dog")
    assert [row["text"] for row in rows(outcome.out)] == ["the cat", "a dog"]
    assert vectors(outcome.out).shape == (2, 8)


def test_texts_that_look_like_options(cli: Cli, tiny_table: Path):
    outcome = cli("embed", tiny_table, "--format", "jsonl", "--", "-5 cats", "--help")
    assert outcome.status == 0, outcome
    assert [row["text"] for row in rows(outcome.out)] == ["-5 cats", "--help"]


def test_no_text_at_all_is_an_empty_file(cli: Cli, tiny_table: Path, tmp_path: Path):
    path = tmp_path / "vectors.parquet"
    outcome = cli("embed", tiny_table, "--output", path, stdin=b"")
    assert outcome.status == 0
    table = VectorTable.read(path)
    assert (table.sources, table.vectors.shape) == ([], (0, 32))


@pytest.mark.filterwarnings("always")
def test_a_long_text_warns(cli: Cli, tiny_table: Path):
    outcome = cli("embed", tiny_table, "the cat " * 40, "--format", "jsonl")
    assert outcome.status == 0
    (row,) = rows(outcome.out)
    assert (row["tokens"], row["truncated"]) == (82, True)
    assert outcome.err.startswith("llm-compression: warning: 1 of 1 texts are longer than max_seq_")
    assert outcome.err.count("\n") == 1


def test_a_long_text_is_an_error_on_request(cli: Cli, tiny_table: Path):
    message = cli("embed", tiny_table, "the cat " * 40, "--truncation", "error").error(2)
    assert "longer than max_seq_length 32 tokens" in message


def test_a_long_text_is_cut_in_silence_on_request(cli: Cli, tiny_table: Path):
    outcome = cli("embed", tiny_table, "the cat " * 40, "--truncation", "ok")
    assert (outcome.status, outcome.err) == (0, "")


def test_no_texts_on_a_terminal(cli: Cli, tiny_table: Path):
    message = cli("embed", tiny_table).error(2)
    assert message == "no texts; give some, or --file FILE, or pipe lines into the command"


def test_texts_and_a_file(cli: Cli, tiny_table: Path, texts_file: Path):
    message = cli("embed", tiny_table, "a", "--file", texts_file).error(2)
    assert message == "give texts or --file, not both"


@pytest.mark.parametrize("stdin", [True, False])
def test_texts_that_are_not_utf8(stdin: bool, cli: Cli, tiny_table: Path, tmp_path: Path):
    content = "the cat\nein Flu\xdf".encode("latin-1")
    path = tmp_path / "latin.txt"
    path.write_bytes(content)
    source = ["--file", "-"] if stdin else ["--file", str(path)]
    message = cli("embed", tiny_table, *source, stdin=content).error(2)
    where = "standard input" if stdin else str(path)
    assert message == f"{where} is not UTF-8 at byte 15; convert it, for example with iconv"


def test_a_file_that_is_not_there(cli: Cli, tiny_table: Path, tmp_path: Path):
    for path, reason in ((tmp_path / "no.txt", "No such file"), (tmp_path, "Is a directory")):
        message = cli("embed", tiny_table, "--file", path).error(2)
        assert message.startswith(f"cannot read {path}: {reason}")


def test_a_text_that_is_no_text(cli: Cli, tiny_table: Path):
    """What a shell passes on where an argument is not UTF-8."""
    message = cli("embed", tiny_table, "fine", b"\xff".decode("utf-8", "surrogateescape")).error(2)
    assert message.startswith("input 1 holds a lone surrogate")
