"""``embed --images`` and ``search --images``."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_compression import convert
from llm_compression.engine.clip_engine import CLIPEngine
from llm_compression.memory.vector_table import VectorTable
from llm_compression.multimodal.vision.encoder import VisionEncoder
from tests.cli.conftest import Cli, rows, vectors
from tests.cli.picture_files import close, names, write_broken, write_pictures
from tests.clip_checkpoints import CLIPFactory

QUERY = "a photo of a red cat"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures."""
    return write_pictures(tmp_path / "pictures")


# embed


def test_files_and_folders(cli: Cli, tiny_clip_table: Path, folder: Path):
    """A folder gives what looks like a picture in and below it; a file is taken as it is."""
    files, odd = names(folder), folder / "picture.of.unknown.ending"
    odd.write_bytes(Path(files[0]).read_bytes())
    outcome = cli("embed", tiny_clip_table, "--images", files[2], folder, odd, "--format", "jsonl")
    assert (outcome.status, outcome.err) == (0, "")
    wanted = [files[2], *files, str(odd)]
    assert [row["image"] for row in rows(outcome.out)] == wanted
    assert {tuple(row) for row in rows(outcome.out)} == {("image", "embedding")}
    close(vectors(outcome.out), VisionEncoder(tiny_clip_table).encode(wanted))


def test_as_a_table(cli: Cli, tiny_clip_table: Path, folder: Path):
    outcome = cli("embed", tiny_clip_table, "--images", folder)
    assert (outcome.status, outcome.err) == (0, "")
    found = VisionEncoder(tiny_clip_table).encode(names(folder))
    for line, vector in zip(outcome.out.splitlines(), found, strict=True):
        assert "tokens" not in line
        numbers = line.partition("[")[2].partition("...")[0].split()
        assert [float(number) for number in numbers] == pytest.approx(vector[:6], abs=5e-4)


def test_parquet(cli: Cli, tiny_clip_table: Path, folder: Path, target: Path):
    outcome = cli("embed", tiny_clip_table, "--images", folder, "-o", target)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == f"wrote {target}: 4 vectors of 24 float32\n"
    vector = pa.list_(pa.field("item", pa.float32(), nullable=False), 24)
    schema = pq.read_schema(target)
    assert [(f.name, f.type) for f in schema] == [("image", pa.string()), ("vector", vector)]
    table, encoder = VectorTable.read(target), VisionEncoder(tiny_clip_table)
    assert table.sources == names(folder)
    assert (table.token_counts, table.truncated, table.identity.prompt) == ([], [], "")
    close(table.vectors, encoder.encode(names(folder)))
    assert json.loads(schema.metadata[b"llm_compression.vectors"]) == {
        "model": encoder.fingerprint,
        "compute_dtype": "float32",
        "max_seq_length": 0,
        "dimension": 24,
        "normalized": False,
        "precision": "float32",
        "modality": "image",
        "pooling": "cls",
    }


def test_options_of_pictures(cli: Cli, tiny_clip_table: Path, folder: Path):
    command = ["embed", tiny_clip_table, "--format", "jsonl", "--images", folder]
    plain = vectors(cli(*command).out)
    unit = vectors(cli(*command, "--normalize").out)
    close(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True))
    close(vectors(cli(*command, "--no-normalize").out), plain)
    close(vectors(cli(*command, "--batch-size", 3).out), plain)
    half = vectors(cli(*command, "--compute-dtype", "bfloat16").out)
    assert 0 < np.abs(half - plain).max() < 0.05 * np.abs(plain).max()


def test_a_broken_picture_is_named(cli: Cli, tiny_clip_table: Path, folder: Path, target: Path):
    broken = write_broken(folder)
    outcome = cli("embed", tiny_clip_table, "--images", folder, "-o", target)
    assert outcome.error(2).startswith(f"{broken} is a damaged image: ")
    assert not target.exists()


def test_a_broken_picture_is_skipped(cli: Cli, tiny_clip_table: Path, folder: Path, target: Path):
    broken = write_broken(folder)
    arguments = ["--images", folder, "--on-error", "skip", "-o", target]
    outcome = cli("embed", tiny_clip_table, *arguments)
    assert (outcome.status, outcome.out) == (0, f"wrote {target}: 4 vectors of 24 float32\n")
    assert outcome.err.startswith(f"skipped: {broken} is a damaged image: ")
    assert outcome.err.count("\n") == 1
    assert VectorTable.read(target).sources == names(folder)
    wanted = VisionEncoder(tiny_clip_table).encode(names(folder))
    close(VectorTable.read(target).vectors, wanted)


def test_all_are_skipped(cli: Cli, tiny_clip_table: Path, folder: Path, target: Path):
    arguments = ["--images", write_broken(folder), "--on-error", "skip", "-o", target]
    outcome = cli("embed", tiny_clip_table, *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.endswith("llm-compression: error: none of the images can be read\n")
    assert not target.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["a text"], "give texts or --images, not both"),
        (["--file", "texts.txt"], "file is for texts, not for --images"),
        (["--prompt", "query: "], "prompt is for texts, not for --images"),
        (["--prompt-name", "query"], "prompt-name is for texts, not for --images"),
        (["--max-seq-length", "4"], "max-seq-length is for texts, not for --images"),
        (["--truncate-dim", "8"], "truncate-dim is for texts, not for --images"),
        (
            ["--precision", "int8"],
            "--precision is for texts; what --images embeds comes out as float32",
        ),
        (["--save-ranges", "r.json"], "--ranges and --save-ranges are for --precision int8"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--output", "vectors.csv"], "end in .parquet or .jsonl"),
        (["--format", "parquet"], "Parquet goes to a file"),
    ],
)
def test_options_that_do_not_go_with_pictures(
    options: list[str], words: str, cli: Cli, tiny_clip_table: Path, folder: Path
):
    assert words in cli("embed", tiny_clip_table, *options, "--images", folder).error(2)


COMMANDS = {
    "embed": ["embed", "MODEL", "--images", "IMAGE"],
    "search": ["search", "MODEL", QUERY, "--images", "IMAGE"],
    "classify": ["classify", "MODEL", "IMAGE", "--labels", "cat", "dog"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_pictures(command: str, cli: Cli, tiny_clip_table: Path, tmp_path: Path):
    (tmp_path / "texts" / "folder.png").mkdir(parents=True)
    (tmp_path / "texts" / "notes.txt").write_text("no picture")
    for place, words in [("missing.png", "no image file or folder at "), ("texts", "")]:
        given = {"MODEL": tiny_clip_table, "IMAGE": tmp_path / place}
        message = cli(*[given.get(word, word) for word in COMMANDS[command]]).error(2)
        assert message.startswith(f"{words}{tmp_path / place}")
    assert "holds no image; its files end in none of" in message


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_that_sees_nothing(command: str, cli: Cli, tiny_table: Path, folder: Path):
    given = {"MODEL": tiny_table, "IMAGE": folder}
    assert "tower" in cli(*[given.get(word, word) for word in COMMANDS[command]]).error(2)
    given["MODEL"] = folder / "missing.parquet"
    message = cli(*[given.get(word, word) for word in COMMANDS[command]]).error(1)
    assert message.startswith(f"nothing at {folder / 'missing.parquet'}")


def test_a_vision_tower_alone(cli: Cli, make_clip: CLIPFactory, folder: Path, target: Path):
    checkpoint = make_clip("CLIPVisionModelWithProjection")
    convert(checkpoint, target)
    outcome = cli("embed", target, "--images", folder, "--format", "jsonl")
    close(vectors(outcome.out), VisionEncoder(target).encode(names(folder)))
    for command in (["embed", target, "a cat"], ["search", target, "a cat", "--images", folder],
                    ["classify", target, folder, "--labels", "cat"]):  # fmt: skip
        assert "tower" in cli(*command).error(2)


@pytest.mark.parametrize("how", ["embed", "search", "search in vectors"])
def test_no_picture_is_written_over(how: str, cli: Cli, tiny_clip_table: Path, folder: Path):
    """Neither by its own name nor by another."""
    vectors, link = folder / "vectors.parquet", folder.parent / "link.png"
    cli("embed", tiny_clip_table, "--images", folder, "-o", vectors)
    link.symlink_to(folder / "blue.png")
    given = ["--in", vectors] if how == "search in vectors" else ["--images", folder]
    before = (folder / "blue.png").read_bytes()
    for output in (folder / "blue.png", link):
        options = {"embed": ["embed", tiny_clip_table, "--format", "jsonl", "--output", output]}
        search = ["search", tiny_clip_table, QUERY, "--sheet", output]
        outcome = cli(*options.get(how, search), *given)
        assert outcome.error(2) == f"{output} is read by this command; write to another file"
        assert (folder / "blue.png").read_bytes() == before


def test_images_of_nothing(cli: Cli):
    assert "--images: expected at least one" in cli("embed", "m", "--images").usage_error()
    outcome = cli("embed", "m", "--images", "a.png", "--on-error", "ignore")
    assert "invalid choice: 'ignore'" in outcome.usage_error()


# search


def ranking(table: Path, folder: Path) -> list[tuple[str, float]]:
    """What the engine says, best first."""
    files = names(folder)
    (matches,) = CLIPEngine(table).find_best_matches([QUERY], files, top_k=len(files))
    return [(files[match.index], match.score) for match in matches]


def same(out: str, wanted: list[tuple[str, float]]) -> None:
    found = rows(out)
    assert [row["rank"] for row in found] == [*range(1, len(found) + 1)]
    assert [row["image"] for row in found] == [name for name, _ in wanted]
    close([row["score"] for row in found], np.array([score for _, score in wanted]))


@pytest.mark.parametrize("how", ["folder", "files", "vectors", "vectors of unit length"])
def test_search(how: str, cli: Cli, tiny_clip_table: Path, folder: Path, target: Path):
    unit = ["--normalize"] if how == "vectors of unit length" else []
    assert cli("embed", tiny_clip_table, "--images", folder, "-o", target, *unit).status == 0
    given = {"folder": ["--images", folder], "files": ["--images", *names(folder)]}
    options = given.get(how, ["--in", target, *unit])
    outcome = cli("search", tiny_clip_table, QUERY, *options, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    same(outcome.out, ranking(tiny_clip_table, folder))


def test_search_prints_a_line_for_each(cli: Cli, tiny_clip_table: Path, folder: Path):
    outcome = cli("search", tiny_clip_table, QUERY, "--images", folder, "--top-k", 2)
    wanted = ranking(tiny_clip_table, folder)[:2]
    lines = [f"{rank:>3}  {score:7.4f}  {name}" for rank, (name, score) in enumerate(wanted, 1)]
    assert outcome.out.splitlines() == lines


def test_search_skips_what_cannot_be_read(cli: Cli, tiny_clip_table: Path, folder: Path):
    broken = write_broken(folder)
    command = ["search", tiny_clip_table, QUERY, "--images", folder, "--json"]
    assert str(broken) in cli(*command).error(2)
    outcome = cli(*command, "--on-error", "skip")
    assert f"skipped: {broken} is a damaged image" in outcome.err
    same(outcome.out, ranking(tiny_clip_table, folder))


@pytest.mark.parametrize(
    ("made", "searched", "differs"),
    [
        ("--normalize", "--no-normalize", "normalized is True there, False here"),
        ("--no-normalize", "--normalize", "normalized is False there, True here"),
        ("--compute-dtype=bfloat16", "--json", "compute_dtype is 'bfloat16' there"),
    ],
)
def test_vectors_made_differently(  # noqa: PLR0917  fixtures
    made: str, searched: str, differs: str, cli: Cli, tiny_clip_table: Path, folder: Path
):
    path = folder / "vectors.parquet"
    cli("embed", tiny_clip_table, "--images", folder, "-o", path, made)
    assert differs in cli("search", tiny_clip_table, QUERY, "--in", path, searched).error(2)


def test_vectors_of_another_model(
    cli: Cli, tiny_clip_table: Path, make_clip: CLIPFactory, tiny_table: Path, folder: Path
):
    path = folder / "vectors.parquet"
    cli("embed", tiny_clip_table, "--images", folder, "-o", path)
    message = cli("search", make_clip(seed=1), QUERY, "--in", path).error(2)
    assert message.startswith(f"the vectors in {path} were made differently: model is ")
    assert "no vision tower" in cli("search", tiny_table, QUERY, "--in", path).error(2)


def test_vectors_of_texts(cli: Cli, tiny_clip_table: Path, target: Path):
    texts = {"a photo of a cat", "a red truck"}
    cli("embed", tiny_clip_table, *texts, "-o", target)
    outcome = cli("search", tiny_clip_table, QUERY, "--in", target, "--json")
    assert {row["text"] for row in rows(outcome.out)} == texts


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--top-k", "0"], "--top-k is 0; it must be at least 1"),
        (["--in", "vectors.parquet"], "give --in or --images, not both"),
        (["--truncate-dim", "8"], "--truncate-dim is for texts, not for --images"),
        (["--sheet", "found.jpg"], "found.jpg: a contact sheet ends in .png or .html"),
        (["--sheet", "found"], "found: a contact sheet ends in .png or .html"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], words: str, cli: Cli, tiny_clip_table: Path, folder: Path
):
    assert words in cli("search", tiny_clip_table, QUERY, "--images", folder, *options).error(2)
