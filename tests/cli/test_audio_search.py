"""``search --audio`` and ``search --in`` the vectors of sounds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from llm_compression.cli.times import span
from llm_compression.memory.vector_table import VectorTable
from llm_compression.multimodal.audio.encoder import AudioEncoder
from tests.cli.conftest import Cli, rows
from tests.cli.sound_files import close, names, write_broken, write_sounds
from tests.whisper_checkpoints import RATE, WhisperFactory, noise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sounds."""
    return write_sounds(tmp_path / "sounds")


@pytest.fixture
def query(tmp_path: Path) -> Path:
    """A sound of two windows that is none of the folder's."""
    path = tmp_path / "query.wav"
    soundfile.write(path, noise(3.3, seed=7), RATE)
    return path


Match = tuple[str, float, float, float]  # file, start, stop, score


def ranking(encoder: AudioEncoder, query: Path | str, files: list[str]) -> list[Match]:
    """What the encoder says of every window, best first."""
    found, one = encoder.encode_windows(files), encoder.encode(str(query)).astype(np.float64)
    lengths = np.linalg.norm(found.embeddings, axis=1) * np.linalg.norm(one)
    matches = zip(
        [files[i] for i in found.sounds], found.starts.tolist(), found.stops.tolist(),
        (found.embeddings @ one / lengths).tolist(), strict=True,
    )  # fmt: skip
    return sorted(matches, key=lambda match: -match[3])


def same(out: str, wanted: list[Match]) -> None:
    found = rows(out)
    assert {tuple(row) for row in found} == {("rank", "score", "audio", "start", "stop")}
    assert [row["rank"] for row in found] == [*range(1, len(wanted) + 1)]
    assert [(row["audio"], row["start"], row["stop"]) for row in found] == [m[:3] for m in wanted]
    close([row["score"] for row in found], np.array([match[3] for match in wanted]))


@pytest.mark.parametrize("how", ["folder", "files", "vectors", "vectors of unit length"])
def test_search(  # noqa: PLR0917  fixtures
    how: str, cli: Cli, tiny_whisper_table: Path, folder: Path, query: Path, target: Path
):
    unit = ["--normalize"] if how == "vectors of unit length" else []
    cli("embed", tiny_whisper_table, "--audio", folder, "-o", target, *unit)
    given = {"folder": ["--audio", folder], "files": ["--audio", *names(folder)]}
    options = [*given.get(how, ["--in", target, *unit]), "--top-k", 9, "--json"]
    outcome = cli("search", tiny_whisper_table, query, *options)
    assert (outcome.status, outcome.err) == (0, "")
    same(outcome.out, ranking(AudioEncoder(tiny_whisper_table), query, names(folder)))


def test_search_prints_a_line_for_each(
    cli: Cli, tiny_whisper_table: Path, folder: Path, query: Path
):
    outcome = cli("search", tiny_whisper_table, query, "--audio", folder, "--top-k", 4)
    wanted = ranking(AudioEncoder(tiny_whisper_table), query, names(folder))[:4]
    lines = [
        f"{rank:>3}  {score:7.4f}  {span(start, stop)}  {name}"
        for rank, (name, start, stop, score) in enumerate(wanted, 1)
    ]
    assert outcome.out.splitlines() == lines


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_sound_is_most_like_itself(mode: str, cli: Cli, long_whisper_table: Path, folder: Path):
    """In either mode, among others of its batch; its vectors at rest are searched in their mode."""
    vectors = folder.parent / "vectors.parquet"
    cli("embed", long_whisper_table, "--audio", folder, "--audio-mode", mode, "-o", vectors)
    for name in names(folder):
        for given in (["--audio", folder, "--audio-mode", mode], ["--in", vectors]):
            outcome = cli("search", long_whisper_table, name, *given, "--top-k", 2, "--json")
            first, second = rows(outcome.out)
            assert first["audio"] == name
            assert first["score"] == pytest.approx(1, abs=1e-6)
            assert second["score"] < 1 - 1e-5


def test_the_place_in_a_long_sound(cli: Cli, tiny_whisper_table: Path, folder: Path):
    samples, rate = soundfile.read(folder / "more" / "song.aiff", dtype="float32")
    part = folder.parent / "part.wav"
    soundfile.write(part, samples[2 * rate : 4 * rate], rate)
    outcome = cli("search", tiny_whisper_table, part, "--audio", folder, "--top-k", 1)
    assert outcome.out == f"  1   1.0000  0:02.0 - 0:04.0  {folder / 'more' / 'song.aiff'}\n"


@pytest.mark.parametrize("top_k", [1, 3, 6, 100])
def test_as_many_as_asked(
    top_k: int, cli: Cli, tiny_whisper_table: Path, folder: Path, query: Path
):
    command = ["search", tiny_whisper_table, query, "--audio", folder]
    assert len(cli(*command, "--top-k", top_k).out.splitlines()) == min(top_k, 6)
    assert len(cli(*command).out.splitlines()) == 5


def test_windows_and_overlaps(cli: Cli, tiny_whisper_table: Path, folder: Path, query: Path):
    options = ["--window", 1.5, "--overlap", 0.5, "--top-k", 99, "--json"]
    outcome = cli("search", tiny_whisper_table, query, "--audio", folder, *options)
    encoder = AudioEncoder(tiny_whisper_table, window=1.5, overlap=0.5)
    same(outcome.out, ranking(encoder, query, names(folder)))


@pytest.mark.parametrize("given", [[], ["--window", "1.5"], ["--overlap", "0.5"]])
def test_what_is_not_given_is_as_in_the_file(  # noqa: PLR0917  fixtures
    given: list[str], cli: Cli, tiny_whisper_table: Path, folder: Path, query: Path, target: Path
):
    options = ["--window", 1.5, "--overlap", 0.5, "--audio-mode", "fast"]
    cli("embed", tiny_whisper_table, "--audio", folder, "-o", target, *options)
    command = ["search", tiny_whisper_table, query, "--in", target, "--top-k", 99, "--json"]
    encoder = AudioEncoder(tiny_whisper_table, mode="fast", window=1.5, overlap=0.5)
    same(cli(*command, *given).out, ranking(encoder, query, names(folder)))


@pytest.mark.parametrize(
    ("made", "searched", "differs"),
    [
        ([], ["--audio-mode", "fast"], "audio_mode is 'exact' there, 'fast' here"),
        (
            ["--audio-mode", "fast"],
            ["--audio-mode", "exact"],
            "audio_mode is 'fast' there, 'exact'",
        ),
        ([], ["--window", "1.5"], "window is 2.0 there, 1.5 here"),
        (["--window", "1"], ["--window", "2"], "window is 1.0 there, 2.0 here"),
        (["--overlap", "0.5"], ["--overlap", "0"], "overlap is 0.5 there, 0.0 here"),
        (["--compute-dtype", "bfloat16"], [], "compute_dtype is 'bfloat16' there, 'float32' here"),
        (
            ["--window", "1"],
            ["--window", "1.5", "--audio-mode", "fast"],
            "audio_mode is 'exact' there, 'fast' here; window is 1.0 there, 1.5 here; embed again",
        ),
    ],
)
def test_vectors_made_differently(  # noqa: PLR0917  fixtures
    made: list[str],
    searched: list[str],
    differs: str,
    cli: Cli,
    tiny_whisper_table: Path,
    folder: Path,
    target: Path,
):
    cli("embed", tiny_whisper_table, "--audio", folder, "-o", target, *made)
    song = folder / "buzz.WAV"
    message = cli("search", tiny_whisper_table, song, "--in", target, *searched).error(2)
    assert message.startswith(f"the vectors in {target} were made differently: ")
    assert differs in message


@pytest.mark.parametrize("made", ["--normalize", "--no-normalize"])
@pytest.mark.parametrize("searched", [[], ["--normalize"]])
def test_lengths_do_not_matter(  # noqa: PLR0917  fixtures
    made: str, searched: list[str], cli: Cli, tiny_whisper_table: Path, folder: Path, target: Path
):
    """A cosine does not see them."""
    cli("embed", tiny_whisper_table, "--audio", folder, "-o", target, made)
    command = ["search", tiny_whisper_table, folder / "buzz.WAV", "--in", target, "--json"]
    same(
        cli(*command, *searched).out,
        ranking(AudioEncoder(tiny_whisper_table), folder / "buzz.WAV", names(folder))[:5],
    )


@pytest.mark.parametrize("seconds", [2, 1])
def test_vectors_of_another_model(  # noqa: PLR0917  fixtures
    seconds: int, cli: Cli, tiny_whisper_table: Path, make_whisper: WhisperFactory, folder: Path,
    target: Path,
):  # fmt: skip
    """Also of one whose windows are shorter than those of the vectors."""
    cli("embed", tiny_whisper_table, "--audio", folder, "-o", target)
    other = make_whisper(seconds=seconds, seed=1)
    message = cli("search", other, folder / "buzz.WAV", "--in", target).error(2)
    fingerprint = AudioEncoder(tiny_whisper_table).fingerprint
    assert message.startswith(f"the vectors in {target} were made differently: model is ")
    assert f"model is {fingerprint!r} there, " in message


@pytest.mark.parametrize("change", [{"audio_mode": "faster"}, {"audio_mode": ""}, {"window": 3.0}])
def test_vectors_made_in_a_way_that_is_unknown(
    change: dict[str, object], cli: Cli, tiny_whisper_table: Path, folder: Path, target: Path
):
    cli("embed", tiny_whisper_table, "--audio", folder, "-o", target)
    table = VectorTable.read(target)
    replace(table, identity=replace(table.identity, **change)).write(target)
    message = cli("search", tiny_whisper_table, folder / "buzz.WAV", "--in", target).error(2)
    assert str(target) in message


def test_no_vectors(cli: Cli, tiny_whisper_table: Path, folder: Path, target: Path):
    cli("embed", tiny_whisper_table, "--audio", folder, "-o", target)
    empty = VectorTable([], np.zeros((0, 16), np.float32), VectorTable.read(target).identity)
    empty.write(target)
    outcome = cli("search", tiny_whisper_table, folder / "buzz.WAV", "--in", target)
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


@pytest.mark.parametrize("given", ["--audio", "--in"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no sound file at {}"),
        (b"", "{} is empty; there is nothing to hear"),
        (b"a song of no sound", "{} is no sound that libsndfile reads"),
        (b"RIFF", "{} is no sound that libsndfile reads"),
    ],
)
def test_a_query_that_is_no_sound(  # noqa: PLR0917  fixtures
    content: bytes | None, words: str, given: str, cli: Cli, tiny_whisper_table: Path, folder: Path,
    target: Path,
):  # fmt: skip
    """Whatever is to become of the files that cannot be read."""
    query = folder.parent / "query.wav"
    if content is not None:
        query.write_bytes(content)
    cli("embed", tiny_whisper_table, "--audio", folder, "-o", target)
    where = [given, folder if given == "--audio" else target]
    for options in ([], ["--on-error", "skip"]):
        message = cli("search", tiny_whisper_table, query, *where, *options).error(2)
        assert message.startswith(words.format(query))


def test_a_query_in_words(cli: Cli, tiny_whisper_table: Path, folder: Path):
    """A model that hears alone is asked with a sound."""
    outcome = cli("search", tiny_whisper_table, "a dog that barks", "--audio", folder)
    assert "no sound file at a dog that barks" in outcome.error(2)


def test_a_broken_query_is_named(cli: Cli, tiny_whisper_table: Path, folder: Path):
    broken = write_broken(folder)
    message = cli("search", tiny_whisper_table, broken, "--audio", folder / "more").error(2)
    assert message.startswith(f"{broken} is damaged: ")


def test_search_skips_what_cannot_be_read(
    cli: Cli, tiny_whisper_table: Path, folder: Path, query: Path
):
    broken = write_broken(folder)
    command = ["search", tiny_whisper_table, query, "--audio", folder, "--top-k", 9, "--json"]
    assert cli(*command).error(2).startswith(f"{broken} is damaged: ")
    outcome = cli(*command, "--on-error", "skip")
    assert outcome.status == 0
    assert outcome.err.startswith(f"skipped: {broken} is damaged: ")
    assert outcome.err.count("\n") == 1
    same(outcome.out, ranking(AudioEncoder(tiny_whisper_table), query, names(folder)))


def test_nothing_to_search(cli: Cli, tiny_whisper_table: Path, folder: Path, query: Path):
    missing = folder / "missing.parquet"
    message = cli("search", tiny_whisper_table, query, "--in", missing).error(2)
    assert str(missing) in message
    broken = write_broken(folder)
    command = ["search", tiny_whisper_table, query, "--audio"]
    outcome = cli(*command, broken, "--on-error", "skip")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.endswith("llm-compression: error: none of the sounds can be read\n")
    assert cli(*command, "nowhere").error(2) == "no sound file or folder at nowhere"
