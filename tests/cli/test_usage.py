"""Help, versions and bad usage of every command."""

import pytest

from llm_compression import __version__
from llm_compression.cli.main import COMMANDS
from tests.cli.conftest import Cli

OPTIONS = {
    "convert": [
        "CHECKPOINT",
        "TARGET",
        "--model",
        "--output",
        "--dtype",
        "--keep-decoder",
        "--revision",
        "--offline",
    ],
    "inspect": ["MODEL", "--tensors", "--json"],
    "verify": ["MODEL"],
    "validate": ["MODEL", "--reference", "--audio", "--device", "--absolute", "--cosine", "--json"],
    "map": ["MODEL", "--beside"],
    "embed": [
        *(
            "MODEL",
            "TEXT",
            "--file",
            "--output",
            "--format",
            "--prompt-name",
            "--precision",
            "--device",
        ),
        *("--images", "--audio", "--audio-mode", "--window", "--overlap", "--on-error"),
    ],
    "search": ["MODEL", "QUERY", "--in", "--images", "--audio", "--sheet", "--top-k", "--json"],
    "classify": ["MODEL", "IMAGE", "--labels", "--labels-file", "--template", "--top-k", "--json"],
    "export": ["MODEL", "FOLDER"],
}


def test_help_names_every_command(cli: Cli):
    outcome = cli("--help")
    assert (outcome.status, outcome.err) == (0, "")
    for name in COMMANDS:
        assert f"\n    {name} " in outcome.out
    assert "examples:" in outcome.out
    assert "Exit status is 0 on success, 1 on a failure and 2 on bad usage." in outcome.out


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command: str, flag: str, cli: Cli):
    outcome = cli(command, flag)
    assert (outcome.status, outcome.err) == (0, "")
    usage, description, *_ = outcome.out.split("\n\n")
    assert usage.startswith(f"usage: llm-compression {command} ")
    assert description.endswith(".")
    for option in OPTIONS[command]:
        assert option.lower() in outcome.out.lower()


def test_every_command_is_tried_here():
    assert set(OPTIONS) == set(COMMANDS)


def test_every_argument_says_what_it_is(cli: Cli):
    """A newcomer finds a word on each; those with choices show them."""
    silent = []
    for command in COMMANDS:
        listed = cli(command, "--help").out.partition("positional arguments:")[2].splitlines()
        for line, following in zip(listed, [*listed[1:], ""], strict=True):
            named = line.startswith("  ") and not line.startswith("   ")
            words = line.strip().split("  ", 1)
            if named and len(words) == 1 and not following.startswith("    "):
                silent.append(f"{command} {line.strip()}")
    assert silent == []


def test_version(cli: Cli):
    outcome = cli("--version")
    assert (outcome.status, outcome.out) == (0, f"llm-compression {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: COMMAND"),
        (["convertt"], "'convertt'"),
        (["--quick"], "COMMAND"),
        (["convert"], "give CHECKPOINT once, by position or as --model"),
        (["convert", "a"], "give TARGET once, by position or as --output"),
        (["convert", "a", "b", "c"], "unrecognized arguments: c"),
        (["convert", "a", "b", "--dtype", "int4"], "invalid choice: 'int4'"),
        (["convert", "a", "b", "--model", "c"], "give CHECKPOINT once"),
        (["convert", "--model", "a"], "give TARGET once"),
        (["inspect"], "required: model"),
        (["inspect", "a", "--colour"], "unrecognized arguments: --colour"),
        (["verify"], "required: model"),
        (["map"], "required: model"),
        (
            ["validate", "a", "--reference", "b", "--absolute", "tiny"],
            "invalid float value: 'tiny'",
        ),
        (["embed"], "required: model"),
        (["embed", "a", "b", "--batch-size", "many"], "invalid int value: 'many'"),
        (["embed", "a", "b", "--precision", "int4"], "invalid choice: 'int4'"),
        (["embed", "a", "b", "--format", "csv"], "invalid choice: 'csv'"),
        (["embed", "a", "b", "--normalize", "--no-normalize"], "not allowed with argument"),
        (["embed", "a", "b", "--unknown"], "unrecognized arguments: --unknown"),
        (["search", "a"], "required: query"),
        (["search", "a", "b", "--top-k", "1.5"], "invalid int value: '1.5'"),
        (["export", "a"], "required: folder"),
    ],
)
def test_bad_usage(arguments: list[str], words: str, cli: Cli):
    assert words in cli(*arguments).usage_error()
