"""What does not go with sounds, and models that cannot hear, are refused in one sentence."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.picture_files import write_pictures
from tests.cli.sound_files import write_sounds

TEXT_ONLY = [
    (["--max-seq-length", "4"], "--max-seq-length is for texts, not for "),
    (["--truncate-dim", "8"], "--truncate-dim is for texts, not for "),
    (["--deterministic"], "--deterministic is for texts, not for "),
]
OUT_OF_RANGE = [
    (["--window", "0"], "window is 0.0 s, which is less than one sample"),
    (["--window", "2.5"], "window is 2.5; it must be a number of seconds in 0..2"),
    (["--window", "nan"], "window is nan; it must be a number of seconds in 0..2"),
    (["--overlap", "-1"], "overlap is -1.0; it must be a number of seconds in 0..2"),
    (["--overlap", "2"], "overlap 2.0 s leaves nothing new in a window of 2.0 s"),
    (
        ["--window", "1", "--overlap", "1.5"],
        "overlap is 1.5; it must be a number of seconds in 0..",
    ),
    (["--batch-size", "0"], "batch_size is 0; it must be a whole number at least 1"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sounds."""
    return write_sounds(tmp_path / "sounds")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["a text"], "give texts or --audio, not both"),
        (["--file", "texts.txt"], "--file is for texts, not for --audio"),
        (["--prompt", "query: "], "--prompt is for texts, not for --audio"),
        (["--prompt-name", "query"], "--prompt-name is for texts, not for --audio"),
        *((options, f"{words}--audio") for options, words in TEXT_ONLY),
        (
            ["--precision", "int8"],
            "--precision is for texts; what --audio embeds comes out as float32",
        ),
        (["--ranges", "r.json"], "--ranges and --save-ranges are for --precision int8 and uint8"),
        (
            ["--save-ranges", "r.json"],
            "--ranges and --save-ranges are for --precision int8 and uint8",
        ),
        (["--output", "vectors.csv"], "vectors.csv: end in .parquet or .jsonl, or give --format"),
        (["--format", "parquet"], "Parquet goes to a file; give --output FILE"),
        *OUT_OF_RANGE,
    ],
)
def test_options_that_do_not_go_with_embedding_sounds(
    options: list[str], words: str, cli: Cli, tiny_whisper_table: Path, folder: Path
):
    outcome = cli("embed", tiny_whisper_table, *options, "--audio", folder)
    assert outcome.error(2).startswith(words)


@pytest.mark.parametrize("given", ["--audio", "--in"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--top-k", "0"], "--top-k is 0; it must be at least 1"),
        (["--sheet", "found.html"], "--sheet shows images, not sounds"),
        *((options, f"{words}sounds") for options, words in TEXT_ONLY),
        *OUT_OF_RANGE[:-1],
    ],
)
def test_options_that_do_not_go_with_searching_sounds(  # noqa: PLR0917  fixtures
    options: list[str], words: str, given: str, cli: Cli, tiny_whisper_table: Path, folder: Path,
    target: Path,
):  # fmt: skip
    cli("embed", tiny_whisper_table, "--audio", folder, "-o", target)
    where = [given, folder if given == "--audio" else target]
    outcome = cli("search", tiny_whisper_table, folder / "buzz.WAV", *where, *options)
    assert outcome.error(2).startswith(words)


def test_two_places_to_search(cli: Cli, tiny_whisper_table: Path, folder: Path):
    outcome = cli("search", tiny_whisper_table, "a.wav", "--audio", folder, "--in", "v.parquet")
    assert outcome.error(2) == "give --in or --audio, not both"


@pytest.mark.parametrize("command", ["embed", "search"])
def test_pictures_and_sounds_at_once(command: str, cli: Cli):
    outcome = cli(command, "m", "query", "--images", "a.png", "--audio", "a.wav")
    assert "--audio: not allowed with argument --images" in outcome.usage_error()


@pytest.mark.parametrize("command", ["embed", "search"])
def test_words_that_are_none(command: str, cli: Cli):
    command = [command, "m", "query", "--audio"]
    assert "--audio: expected at least one argument" in cli(*command).usage_error()
    outcome = cli(*command, "a.wav", "--audio-mode", "slow")
    assert "invalid choice: 'slow'" in outcome.usage_error()
    outcome = cli(*command, "a.wav", "--window", "half")
    assert "invalid float value: 'half'" in outcome.usage_error()
    outcome = cli(*command, "a.wav", "--on-error", "ignore")
    assert "invalid choice: 'ignore'" in outcome.usage_error()


SOUND_ONLY = [["--audio-mode", "exact"], ["--window", "30"], ["--overlap", "0"]]


@pytest.mark.parametrize("options", SOUND_ONLY)
@pytest.mark.parametrize("how", ["texts", "images", "search texts", "search images", "search in"])
def test_options_of_sounds_without_sounds(  # noqa: PLR0917  fixtures
    options: list[str], how: str, cli: Cli, tiny_clip_table: Path, tmp_path: Path, texts_file: Path
):
    """Also those that ask for what is so anyway."""
    pictures, vectors = write_pictures(tmp_path / "pictures"), tmp_path / "vectors.parquet"
    cli("embed", tiny_clip_table, "--images", pictures, "-o", vectors)
    given = {
        "texts": ["embed", tiny_clip_table, "a cat"],
        "images": ["embed", tiny_clip_table, "--images", pictures],
        "search texts": ["search", tiny_clip_table, "a cat", "--in", texts_file],
        "search images": ["search", tiny_clip_table, "a cat", "--images", pictures],
        "search in": ["search", tiny_clip_table, "a cat", "--in", vectors],
    }
    message = cli(*given[how], *options).error(2)
    assert message == f"{options[0]} is for sounds; give --audio"


# models of other kinds

AUDIO_COMMANDS = {
    "embed": ["embed", "MODEL", "--audio", "SOUNDS"],
    "search": ["search", "MODEL", "SOUND", "--audio", "SOUNDS"],
    "search in": ["search", "MODEL", "SOUND", "--in", "VECTORS"],
}


@pytest.mark.parametrize("command", AUDIO_COMMANDS)
@pytest.mark.parametrize("model", ["tiny_table", "tiny_clip_table"])
def test_a_model_that_hears_nothing(  # noqa: PLR0917  fixtures
    model: str, command: str, cli: Cli, tiny_whisper_table: Path, folder: Path, target: Path,
    request: pytest.FixtureRequest,
):  # fmt: skip
    cli("embed", tiny_whisper_table, "--audio", folder, "-o", target)
    given = {"MODEL": request.getfixturevalue(model), "SOUNDS": folder,
             "SOUND": folder / "buzz.WAV", "VECTORS": target}  # fmt: skip
    outcome = cli(*[given.get(word, word) for word in AUDIO_COMMANDS[command]])
    assert outcome.error(2) == (
        "the model has no audio tower; convert a Whisper checkpoint to embed sounds"
    )


@pytest.mark.parametrize("command", AUDIO_COMMANDS)
def test_no_model(command: str, cli: Cli, tiny_whisper_table: Path, folder: Path, target: Path):
    cli("embed", tiny_whisper_table, "--audio", folder, "-o", target)
    given = {"MODEL": folder / "missing.parquet", "SOUNDS": folder,
             "SOUND": folder / "buzz.WAV", "VECTORS": target}  # fmt: skip
    message = cli(*[given.get(word, word) for word in AUDIO_COMMANDS[command]]).error(1)
    assert message.startswith(f"nothing at {folder / 'missing.parquet'}")


OTHER_COMMANDS = {
    "embed texts": ["embed", "MODEL", "a cat"],
    "embed images": ["embed", "MODEL", "--images", "PICTURES"],
    "search texts": ["search", "MODEL", "a cat", "--in", "TEXTS"],
    "search images": ["search", "MODEL", "a cat", "--images", "PICTURES"],
    "search vectors of images": ["search", "MODEL", "a cat", "--in", "VECTORS"],
    "classify": ["classify", "MODEL", "PICTURES", "--labels", "cat", "dog"],
}


@pytest.mark.parametrize("command", OTHER_COMMANDS)
def test_a_model_that_hears_alone(  # noqa: PLR0917  fixtures
    command: str, cli: Cli, tiny_whisper_table: Path, tiny_clip_table: Path, texts_file: Path,
    tmp_path: Path,
):  # fmt: skip
    """The message says what the model does take."""
    pictures, vectors = write_pictures(tmp_path / "pictures"), tmp_path / "vectors.parquet"
    cli("embed", tiny_clip_table, "--images", pictures, "-o", vectors)
    given = {"MODEL": tiny_whisper_table, "PICTURES": pictures, "TEXTS": texts_file,
             "VECTORS": vectors}  # fmt: skip
    message = cli(*[given.get(word, word) for word in OTHER_COMMANDS[command]]).error(2)
    assert "tower" in message
    assert "sounds" in message
    assert "VisionEncoder" not in message
    assert "ArrowEngine" not in message
