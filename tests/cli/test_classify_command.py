"""``classify``: the labels of pictures, from the command line or a file."""

from pathlib import Path

import numpy as np
import pytest

from llm_compression.engine.clip_engine import CLIPEngine
from tests.cli.conftest import Cli, rows
from tests.cli.picture_files import close, names, write_broken, write_pictures

LABELS = ["cat", "dog", "red truck"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures."""
    return write_pictures(tmp_path / "pictures")


def test_every_probability(cli: Cli, tiny_clip_table: Path, folder: Path):
    outcome = cli("classify", tiny_clip_table, folder, "--labels", *LABELS, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = rows(outcome.out)
    wanted = CLIPEngine(tiny_clip_table).zero_shot_classification(names(folder), LABELS)
    assert [row["image"] for row in found] == names(folder)
    assert {tuple(row) for row in found} == {("image", "labels")}
    close([[row["labels"][label] for label in LABELS] for row in found], wanted)
    for row in found:
        assert [*row["labels"].values()] == sorted(row["labels"].values(), reverse=True)


def test_as_a_table(cli: Cli, tiny_clip_table: Path, folder: Path):
    wanted = CLIPEngine(tiny_clip_table).zero_shot_classification(names(folder), LABELS)
    outcome = cli("classify", tiny_clip_table, folder, "--labels", *LABELS, "--top-k", 2)
    lines = []
    for file, row in zip(names(folder), wanted, strict=True):
        best = np.argsort(-row, kind="stable")[:2]
        lines += [file, *(f"  {row[i]:6.1%}  {LABELS[i]}" for i in best)]
    assert outcome.out.splitlines() == lines


def test_labels_from_a_file(cli: Cli, tiny_clip_table: Path, folder: Path, tmp_path: Path):
    path = tmp_path / "labels.txt"
    path.write_bytes(b"cat\r\n\ndog\nred truck")
    command = ["classify", tiny_clip_table, folder, "--json"]
    assert cli(*command, "--labels-file", path).out == cli(*command, "--labels", *LABELS).out


def test_templates(cli: Cli, tiny_clip_table: Path, folder: Path):
    command = ["classify", tiny_clip_table, folder, "--json", "--labels", *LABELS]
    plain = cli(*command).out
    assert cli(*command, "--template", "a photo of a {}.").out == plain
    templates = ["a blue {}", "the {} runs"]
    outcome = cli(*command, "--template", templates[0], "--template", templates[1])
    found = [[row["labels"][label] for label in LABELS] for row in rows(outcome.out)]
    engine = CLIPEngine(tiny_clip_table)
    close(found, engine.zero_shot_classification(names(folder), LABELS, templates=templates))
    assert outcome.out != plain


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--labels", "cat", "dog", "cat"], "class 'cat' is named twice; name each class once"),
        (["--labels", "cat", ""], "class 1 is ''; a class is named by a text"),
        (["--labels", " "], "a class is named by a text"),
        (["--labels-file", "empty.txt"], "is empty; name at least one class"),
        (["--labels-file", "twice.txt"], "class 'dog' is named twice; name each class once"),
        (["--labels-file", "missing.txt"], "cannot read missing.txt"),
        (["--labels-file", "bytes.txt"], "bytes.txt is not UTF-8 at byte 0"),
        (["--labels", "cat", "--template", "a cat"], "template 'a cat' needs one {}"),
        (["--labels", "cat", "--template", "{} {}"], "template '{} {}' needs one {}"),
        (["--labels", "cat", "--top-k", "0"], "--top-k is 0; it must be at least 1"),
        (["--labels", "cat", "--batch-size", "0"], "batch_size is 0"),
    ],
)
def test_labels_and_options_that_cannot_be(  # noqa: PLR0917  fixtures
    options: list[str], words: str, cli: Cli, tiny_clip_table: Path, folder: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.chdir(folder)
    Path("empty.txt").write_text("\n \n")
    Path("twice.txt").write_text("dog\ncat\ndog\n")
    Path("bytes.txt").write_bytes(b"\xff\xfe")
    assert words in cli("classify", tiny_clip_table, "blue.png", *options).error(2)


def test_labels_are_given_once(cli: Cli):
    assert "one of the arguments --labels" in cli("classify", "m", "a.png").usage_error()
    outcome = cli("classify", "m", "a.png", "--labels", "cat", "--labels-file", "labels.txt")
    assert "not allowed with argument" in outcome.usage_error()
    assert "required: " in cli("classify", "m", "--labels", "cat").usage_error()


def test_a_broken_picture_is_named(cli: Cli, tiny_clip_table: Path, folder: Path):
    broken = write_broken(folder)
    message = cli("classify", tiny_clip_table, folder, "--labels", *LABELS).error(2)
    assert message.startswith(f"{broken} is a damaged image: ")


def test_a_broken_picture_is_skipped(cli: Cli, tiny_clip_table: Path, folder: Path):
    command = ["classify", tiny_clip_table, folder, "--labels", *LABELS, "--json"]
    wanted = cli(*command).out
    broken = write_broken(folder)
    outcome = cli(*command, "--on-error", "skip")
    assert (outcome.status, outcome.out) == (0, wanted)
    assert f"skipped: {broken} is a damaged image: " in outcome.err
