"""``embed --audio``; of ``search`` see `test_audio_search`."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from llm_compression.memory.vector_table import VectorTable
from llm_compression.multimodal.audio.encoder import AudioEncoder
from tests.cli.conftest import Cli, rows, vectors
from tests.cli.sound_files import (
    SECONDS,
    close,
    names,
    write_broken,
    write_late_broken,
    write_sounds,
    write_thousand,
)
from tests.whisper_checkpoints import RATE, noise

WINDOWS = {"buzz.WAV": [(0, 0.4)], "clap.flac": [(0, 1.1)], "hum.Ogg": [(0, 1.7)],
           "more/song.aiff": [(0, 2), (2, 4), (4, 5)]}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sounds."""
    return write_sounds(tmp_path / "sounds")


def expected(folder: Path) -> list[tuple[str, float, float]]:
    """The windows of 2 s of a folder, in order."""
    return [(str(folder / name), *times) for name in SECONDS for times in WINDOWS[name]]


def times(out: str) -> list[tuple[str, float, float]]:
    return [(row["audio"], row["start"], row["stop"]) for row in rows(out)]


def test_files_and_folders(cli: Cli, tiny_whisper_table: Path, folder: Path):
    """A folder gives what looks like a sound in and below it; a file is taken as it is."""
    files, odd = names(folder), folder / "sound.of.unknown.ending"
    odd.write_bytes(Path(files[1]).read_bytes())
    given = [files[2], folder, odd]
    outcome = cli("embed", tiny_whisper_table, "--audio", *given, "--format", "jsonl")
    assert (outcome.status, outcome.err) == (0, "")
    wanted = [(files[2], 0, 1.7), *expected(folder), (str(odd), 0, 1.1)]
    assert times(outcome.out) == wanted
    assert {tuple(row) for row in rows(outcome.out)} == {("audio", "start", "stop", "embedding")}
    found = AudioEncoder(tiny_whisper_table).encode_windows([files[2], *files, odd])
    close(vectors(outcome.out), found.embeddings)


def test_one_window_is_the_embedding_of_the_sound(cli: Cli, tiny_whisper_table: Path, folder: Path):
    files = names(folder)[:3]
    outcome = cli("embed", tiny_whisper_table, "--audio", *files, "--format", "jsonl")
    close(vectors(outcome.out), AudioEncoder(tiny_whisper_table).encode(files))


@pytest.mark.parametrize("ending", [".MP3", ".OGG", ".flac", ".Aif", ".au", ".oga", ".caf"])
def test_endings_in_any_case(ending: str, cli: Cli, tiny_whisper_table: Path, folder: Path):
    """What stands in the file is not judged by them."""
    place = folder / "only"
    place.mkdir()
    (place / f"a{ending}").write_bytes((folder / "buzz.WAV").read_bytes())
    outcome = cli("embed", tiny_whisper_table, "--audio", place, "--format", "jsonl")
    assert times(outcome.out) == [(str(place / f"a{ending}"), 0, 0.4)]


def test_as_a_table(cli: Cli, tiny_whisper_table: Path, folder: Path, monkeypatch):
    monkeypatch.chdir(folder)
    outcome = cli("embed", tiny_whisper_table, "--audio", ".")
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    found = AudioEncoder(tiny_whisper_table).encode_windows([*SECONDS]).embeddings
    for line, vector in zip(lines, found, strict=True):
        numbers = line.partition("[")[2].partition("...")[0].split()
        assert [float(number) for number in numbers] == pytest.approx(vector[:6], abs=5e-4)
    assert lines[1].startswith(f"{'clap.flac':<40}  0:00.0 - 0:01.1  [")
    assert lines[-1].startswith(f"{'more/song.aiff':<40}  0:04.0 - 0:05.0  [")


def test_parquet(cli: Cli, tiny_whisper_table: Path, folder: Path, target: Path):
    outcome = cli("embed", tiny_whisper_table, "--audio", folder, "-o", target)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == f"wrote {target}: 6 vectors of 16 float32\n"
    schema = pq.read_schema(target)
    vector = pa.list_(pa.field("item", pa.float32(), nullable=False), 16)
    assert [(f.name, f.type) for f in schema] == [
        ("audio", pa.string()), ("vector", vector), ("start", pa.float64()), ("stop", pa.float64())
    ]  # fmt: skip
    table, encoder = VectorTable.read(target), AudioEncoder(tiny_whisper_table)
    assert [*zip(table.sources, table.starts, table.stops, strict=True)] == expected(folder)
    close(table.vectors, encoder.encode_windows(names(folder)).embeddings)
    assert json.loads(schema.metadata[b"llm_compression.vectors"]) == {
        "model": encoder.fingerprint,
        "compute_dtype": "float32",
        "max_seq_length": 0,
        "dimension": 16,
        "normalized": False,
        "precision": "float32",
        "modality": "audio",
        "pooling": "mean",
        "audio_mode": "exact",
        "window": 2.0,
    }  # and no overlap


@pytest.mark.parametrize("ending", ["jsonl", "ndjson"])
def test_lines_in_a_file(
    ending: str, cli: Cli, tiny_whisper_table: Path, folder: Path, target: Path
):
    command = ["embed", tiny_whisper_table, "--audio", folder]
    target = target.with_suffix(f".{ending}")
    outcome = cli(*command, "--output", target)
    assert outcome.out == f"wrote {target}: 6 vectors of 16 float32\n"
    assert target.read_text(encoding="utf-8") == cli(*command, "--format", "jsonl").out


def test_windows_and_overlaps(cli: Cli, tiny_whisper_table: Path, folder: Path, target: Path):
    song = folder / "more" / "song.aiff"
    command = ["embed", tiny_whisper_table, "--audio", song, "--window", 1.5, "--overlap", "0.25"]
    outcome = cli(*command, "--format", "jsonl")
    wanted = [(0, 1.5), (1.25, 2.75), (2.5, 4), (3.75, 5)]
    assert times(outcome.out) == [(str(song), *both) for both in wanted]
    encoder = AudioEncoder(tiny_whisper_table, window=1.5, overlap=0.25)
    close(vectors(outcome.out), encoder.encode_windows(song).embeddings)
    cli(*command, "-o", target)
    identity = VectorTable.read(target).identity
    assert (identity.window, identity.overlap) == (1.5, 0.25)


def test_the_fast_mode(cli: Cli, long_whisper_table: Path, folder: Path, target: Path):
    command = ["embed", long_whisper_table, "--audio", folder]
    exact = vectors(cli(*command, "--audio-mode", "exact", "--format", "jsonl").out)
    fast = vectors(cli(*command, "--audio-mode", "fast", "--format", "jsonl").out)
    for mode, found in [("exact", exact), ("fast", fast)]:
        close(found, AudioEncoder(long_whisper_table, mode=mode).encode(names(folder)))
    assert np.abs(exact - fast).max() > 1e-4
    cli(*command, "--audio-mode", "fast", "-o", target)
    assert VectorTable.read(target).identity.audio_mode == "fast"


def test_options_of_sounds(cli: Cli, tiny_whisper_table: Path, folder: Path):
    command = ["embed", tiny_whisper_table, "--format", "jsonl", "--audio", folder]
    plain = vectors(cli(*command).out)
    unit = vectors(cli(*command, "--normalize").out)
    close(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True))
    close(vectors(cli(*command, "--no-normalize").out), plain)
    close(vectors(cli(*command, "--batch-size", 2).out), plain)
    half = vectors(cli(*command, "--compute-dtype", "bfloat16").out)
    assert 0 < np.abs(half - plain).max() < 0.05 * np.abs(plain).max()


def test_a_broken_sound_is_named(cli: Cli, tiny_whisper_table: Path, folder: Path, target: Path):
    broken = write_broken(folder)
    outcome = cli("embed", tiny_whisper_table, "--audio", folder, "-o", target)
    assert outcome.error(2).startswith(f"{broken} is damaged: ")
    assert list(target.parent.iterdir()) == []


def test_a_broken_sound_is_skipped(cli: Cli, tiny_whisper_table: Path, folder: Path, target: Path):
    broken, late = write_broken(folder), write_late_broken(folder)
    arguments = ["--audio", folder, "--on-error", "skip", "-o", target]
    outcome = cli("embed", tiny_whisper_table, *arguments)
    assert (outcome.status, outcome.out) == (0, f"wrote {target}: 6 vectors of 16 float32\n")
    first, second = outcome.err.splitlines()
    assert first.startswith(f"skipped: {broken} is damaged: ")
    assert second.startswith(f"skipped: {late} holds NaN or infinite samples")
    table = VectorTable.read(target)
    assert [*zip(table.sources, table.starts, table.stops, strict=True)] == expected(folder)
    wanted = AudioEncoder(tiny_whisper_table).encode_windows(names(folder)).embeddings
    close(table.vectors, wanted)


def test_one_broken_sound_among_a_thousand(
    cli: Cli, tiny_whisper_table: Path, tmp_path: Path, target: Path
):
    files = write_thousand(tmp_path / "many", broken=617)
    command = ["embed", tiny_whisper_table, "--audio", tmp_path / "many", "-o", target]
    assert cli(*command).error(2).startswith(f"{files[617]} is damaged: ")
    assert list(target.parent.iterdir()) == []
    outcome = cli(*command, "--on-error", "skip")
    assert (outcome.status, outcome.out) == (0, f"wrote {target}: 999 vectors of 16 float32\n")
    assert outcome.err.startswith(f"skipped: {files[617]} is damaged: ")
    assert outcome.err.count("\n") == 1
    table = VectorTable.read(target)
    assert table.sources == files[:617] + files[618:]
    wanted = AudioEncoder(tiny_whisper_table).encode([files[0], files[618], files[999]])
    close(table.vectors[[0, 617, 998]], wanted)


def test_all_are_skipped(cli: Cli, tiny_whisper_table: Path, folder: Path, target: Path):
    arguments = ["--audio", write_broken(folder), "--on-error", "skip", "-o", target]
    outcome = cli("embed", tiny_whisper_table, *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.endswith("llm-compression: error: none of the sounds can be read\n")
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; there is nothing to hear"),
        (b"just text", "is no sound that libsndfile reads"),
        (None, "holds no samples; there is nothing to hear"),
    ],
)
def test_a_file_that_is_no_sound(
    content: bytes | None, words: str, cli: Cli, tiny_whisper_table: Path, tmp_path: Path
):
    path = tmp_path / "odd.wav"
    if content is None:
        soundfile.write(path, noise(0.1)[:0], RATE)
    else:
        path.write_bytes(content)
    message = cli("embed", tiny_whisper_table, "--audio", path).error(2)
    assert message.startswith(f"{path} {words}")


def test_no_sounds(cli: Cli, tiny_whisper_table: Path, tmp_path: Path):
    (tmp_path / "texts" / "folder.wav").mkdir(parents=True)
    (tmp_path / "texts" / "notes.txt").write_text("no sound")
    for place, words in [("missing.wav", "no sound file or folder at "), ("texts", "")]:
        message = cli("embed", tiny_whisper_table, "--audio", tmp_path / place).error(2)
        assert message.startswith(f"{words}{tmp_path / place}")
    assert "holds no sound; its files end in none of" in message


def test_a_url_is_named_as_it_was_given(cli: Cli, tiny_whisper_table: Path, folder: Path):
    url = "https://example.org/a.wav"
    assert url in cli("embed", tiny_whisper_table, "--audio", url).error(2)
    assert url in cli("search", tiny_whisper_table, url, "--audio", folder).error(2)


@pytest.mark.parametrize("other", ["its own name", "a link"])
def test_no_sound_is_written_over(other: str, cli: Cli, tiny_whisper_table: Path, folder: Path):
    buzz = folder / "buzz.WAV"
    output, before = buzz, buzz.read_bytes()
    if other == "a link":
        output = folder.parent / "link.jsonl"
        output.symlink_to(buzz)
    for given in (folder, buzz):
        outcome = cli(
            "embed", tiny_whisper_table, "--audio", given, "--format", "jsonl", "-o", output
        )
        assert outcome.error(2) == f"{output} is read by this command; write to another file"
    assert buzz.read_bytes() == before
