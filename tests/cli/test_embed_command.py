"""``embed``: from texts anywhere to vectors as a table, JSON lines or Parquet."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_compression import ArrowEngine
from llm_compression.memory.vector_table import VectorTable
from llm_compression.spec.names import PRECISIONS
from tests.cli.conftest import TEXTS, Cli, rows, vectors

KINDS = {
    "float32": pa.float32(),
    "int8": pa.int8(),
    "uint8": pa.uint8(),
    "binary": pa.int8(),
    "ubinary": pa.uint8(),
}


def expected(table: Path, texts: list[str] = TEXTS, **options: object) -> np.ndarray:
    return ArrowEngine(table).encode(texts, **options)  # type: ignore[arg-type]


def test_the_table(cli: Cli, tiny_table: Path):
    outcome = cli("embed", tiny_table, *TEXTS)
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert len(lines) == len(TEXTS)
    counts = ArrowEngine(tiny_table).token_counts(TEXTS)
    for line, text, count, vector in zip(lines, TEXTS, counts, expected(tiny_table), strict=True):
        assert line.startswith(f"{text:<40} {count:>5} tokens  [")
        numbers = line.partition("[")[2].partition("...")[0].split()
        assert [float(number) for number in numbers] == pytest.approx(vector[:6], abs=5e-4)


def test_a_text_is_one_line_of_the_table(cli: Cli, tiny_table: Path):
    outcome = cli(
        "embed", tiny_table, "a cat\n\ton a\r\nmat", "the dog " * 40, "--truncation", "ok"
    )
    assert len(outcome.out.splitlines()) == 2
    assert len(outcome.out.split("\n")) == 3


def test_json_lines(cli: Cli, tiny_table: Path):
    outcome = cli("embed", tiny_table, *TEXTS, "--format", "jsonl")
    assert [row["text"] for row in rows(outcome.out)] == TEXTS
    assert [row["tokens"] for row in rows(outcome.out)] == ArrowEngine(tiny_table).token_counts(
        TEXTS
    )
    assert [row["truncated"] for row in rows(outcome.out)] == [False] * len(TEXTS)
    np.testing.assert_array_equal(vectors(outcome.out), expected(tiny_table))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_parquet(precision: str, cli: Cli, tiny_table: Path, tmp_path: Path):
    path = tmp_path / "vectors.parquet"
    outcome = cli("embed", tiny_table, *TEXTS, "-o", path, "--precision", precision)
    width = 32 if "binary" not in precision else 4
    kind, own = KINDS[precision], expected(tiny_table, precision=precision)
    assert outcome.status == 0
    assert outcome.out == f"wrote {path}: 5 vectors of {width} {own.dtype}\n"
    table = pq.read_table(path)
    item = pa.field("item", kind, nullable=False)
    assert table.schema.field("text").type == pa.string()
    assert table.schema.field("vector").type == pa.list_(item, width)
    assert not table.schema.field("vector").type.value_field.nullable
    assert table.schema.field("token_count").type == pa.int32()
    assert table.schema.field("truncated").type == pa.bool_()
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist()), own)
    assert table["text"].to_pylist() == TEXTS


def test_parquet_says_how_its_vectors_were_made(cli: Cli, tiny_table: Path, tmp_path: Path):
    path = tmp_path / "vectors.parquet"
    cli("embed", tiny_table, *TEXTS, "--output", path, "--truncate-dim", 8, "--prompt", "query: ",
        "--max-seq-length", 6, "--truncation", "ok", "--no-normalize")  # fmt: skip
    metadata = pq.read_schema(path).metadata
    assert json.loads(metadata[b"llm_compression.vectors"]) == {
        "model": ArrowEngine(tiny_table).fingerprint,
        "compute_dtype": "float32",
        "max_seq_length": 6,
        "dimension": 8,
        "normalized": False,
        "precision": "float32",
        "pooling": "mean",
        "prompt": "query: ",
    }
    table = VectorTable.read(path)
    assert table.truncated == [count > 6 for count in table.token_counts]
    assert any(table.truncated)
    engine = ArrowEngine(tiny_table)
    assert table.token_counts == engine.token_counts(["query: " + text for text in TEXTS])


@pytest.mark.parametrize("name", ["v.parquet", "v.jsonl", "v.ndjson"])
def test_the_ending_decides_the_format(name: str, cli: Cli, tiny_table: Path, tmp_path: Path):
    path = tmp_path / name
    assert cli("embed", tiny_table, "the cat", "--output", path).status == 0
    starts = {".parquet": b"PAR1", ".jsonl": b'{"text"', ".ndjson": b'{"text"'}
    assert path.read_bytes().startswith(starts[path.suffix])


@pytest.mark.parametrize("name", ["v.csv", "v.txt", "v"])
def test_no_vector_is_lost_in_a_file_of_another_ending(
    name: str, cli: Cli, tiny_table: Path, tmp_path: Path
):
    message = cli("embed", tiny_table, "the cat", "--output", tmp_path / name).error(2)
    assert "end in .parquet or .jsonl, or give --format" in message
    assert not (tmp_path / name).exists()


def test_a_format_wins_over_the_ending(cli: Cli, tiny_table: Path, tmp_path: Path):
    path = tmp_path / "vectors.dat"
    cli("embed", tiny_table, "the cat", "--output", path, "--format", "parquet")
    assert VectorTable.read(path).sources == ["the cat"]


def test_a_dash_is_the_screen(cli: Cli, tiny_table: Path):
    outcome = cli("embed", tiny_table, "the cat", "--output", "-", "--format", "jsonl")
    assert len(rows(outcome.out)) == 1


def test_saved_ranges_give_the_same_vectors(cli: Cli, tiny_table: Path, tmp_path: Path):
    ranges, first, second, third = (
        tmp_path / n for n in ("r.json", "1.jsonl", "2.jsonl", "3.jsonl")
    )
    int8 = ["--precision", "int8"]
    cli("embed", tiny_table, *TEXTS, *int8, "--save-ranges", ranges, "-o", first)
    assert ranges.exists()
    cli("embed", tiny_table, *TEXTS, *int8, "--ranges", ranges, "-o", second)
    assert first.read_bytes() == second.read_bytes()
    cli("embed", tiny_table, *TEXTS[:2], *int8, "--ranges", ranges, "-o", third)
    lines = third.read_text().splitlines()
    assert lines == first.read_text().splitlines()[:2]


def test_one_text_with_stored_ranges(cli: Cli, tiny_table: Path, tmp_path: Path):
    ranges = tmp_path / "ranges.json"
    cli("embed", tiny_table, *TEXTS, "--precision", "uint8", "--save-ranges", ranges)
    one = cli("embed", tiny_table, TEXTS[0], "--precision", "uint8", "--ranges", ranges,
              "--format", "jsonl")  # fmt: skip
    assert one.status == 0
    message = cli("embed", tiny_table, TEXTS[0], "--precision", "uint8").error(2)
    assert "ranges need at least two embeddings" in message


def test_ranges_of_another_model(cli: Cli, tiny_table: Path, prompted_table: Path, tmp_path: Path):
    ranges = tmp_path / "ranges.json"
    cli("embed", tiny_table, *TEXTS, "--precision", "int8", "--save-ranges", ranges)
    message = cli("embed", prompted_table, "a", "--precision", "int8", "--ranges", ranges).error(2)
    assert message.startswith("the ranges are of model ")


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"model": "a", "low": [1], "high": [0]}'])
def test_ranges_that_are_none(content: str, cli: Cli, tiny_table: Path, tmp_path: Path):
    ranges = tmp_path / "ranges.json"
    ranges.write_text(content)
    message = cli("embed", tiny_table, "a", "--precision", "int8", "--ranges", ranges).error(2)
    assert str(ranges) in message


@pytest.mark.parametrize(
    "options",
    [
        ["--ranges", "r.json"],
        ["--save-ranges", "s.json"],
        ["--precision", "binary", "--save-ranges", "s.json"],
        ["--precision", "int8", "--ranges", "r.json", "--save-ranges", "s.json"],
    ],
)
def test_ranges_are_never_silently_ignored(
    options: list[str], cli: Cli, tiny_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    cli("embed", tiny_table, *TEXTS, "--precision", "int8", "--save-ranges", "r.json")
    outcome = cli("embed", tiny_table, *TEXTS, *options)
    assert outcome.status == 2
    assert "ranges" in outcome.err
    assert not Path("s.json").exists()


@pytest.mark.parametrize(
    ("options", "keywords"),
    [
        (["--truncate-dim", "8"], {"truncate_dim": 8}),
        (["--no-normalize"], {"normalize_embeddings": False}),
        (["--normalize"], {"normalize_embeddings": True}),
        (["--prompt", "query: "], {"prompt": "query: "}),
        (["--batch-size", "1"], {"batch_size": 1}),
    ],
)
def test_options_reach_the_engine(
    options: list[str], keywords: dict[str, object], cli: Cli, tiny_table: Path
):
    outcome = cli("embed", tiny_table, *TEXTS, *options, "--format", "jsonl")
    np.testing.assert_array_equal(vectors(outcome.out), expected(tiny_table, **keywords))


def test_options_of_the_engine(cli: Cli, tiny_table: Path):
    options = ["--compute-dtype", "bfloat16", "--deterministic", "--max-seq-length", "5",
               "--truncation", "ok"]  # fmt: skip
    outcome = cli("embed", tiny_table, *TEXTS, *options, "--format", "jsonl")
    engine = ArrowEngine(tiny_table, compute_dtype="bfloat16", deterministic=True,
                         max_seq_length=5, truncation="ok")  # fmt: skip
    np.testing.assert_array_equal(vectors(outcome.out), engine.encode(TEXTS))


def test_a_prompt_by_its_name(cli: Cli, prompted_table: Path):
    outcome = cli("embed", prompted_table, *TEXTS, "--prompt-name", "query", "--format", "jsonl")
    np.testing.assert_array_equal(
        vectors(outcome.out), expected(prompted_table, prompt_name="query")
    )
    assert [row["text"] for row in rows(outcome.out)] == TEXTS


def test_a_checkpoint_folder_will_do(cli: Cli, tiny_bert: Path, tiny_table: Path):
    outcome = cli("embed", tiny_bert, *TEXTS, "--format", "jsonl")
    np.testing.assert_array_equal(vectors(outcome.out), expected(tiny_table))


@pytest.mark.parametrize("output", [[], ["--output", "-"]])
def test_parquet_on_the_screen(output: list[str], cli: Cli, tiny_table: Path):
    message = cli("embed", tiny_table, "a", "--format", "parquet", *output).error(2)
    assert message == "Parquet goes to a file; give --output FILE"


def test_an_unknown_prompt(cli: Cli, tiny_table: Path, prompted_table: Path):
    message = cli("embed", prompted_table, "a", "--prompt-name", "title").error(2)
    assert message == "the model has no prompt 'title'; its prompts: passage, query"
    assert "its prompts: none" in cli("embed", tiny_table, "a", "--prompt-name", "title").error(2)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--batch-size", 0),
        ("--batch-size", -1),
        ("--truncate-dim", 0),
        ("--truncate-dim", 33),
        ("--max-seq-length", 0),
        ("--max-seq-length", 41),
    ],
)
def test_numbers_out_of_range(option: str, value: int, cli: Cli, tiny_table: Path):
    message = cli("embed", tiny_table, "a", option, value).error(2)
    assert option.strip("-").replace("-", "_") in message
    assert str(value) in message


@pytest.mark.parametrize("name", ["vectors.parquet", "vectors.jsonl", "vectors.ndjson"])
@pytest.mark.parametrize("folder", ["/proc", "nowhere"])
def test_an_output_that_cannot_be_written(
    name: str, folder: str, cli: Cli, tiny_table: Path, tmp_path: Path
):
    path = tmp_path / folder / name  # /proc, being absolute, stands alone
    message = cli("embed", tiny_table, "a", "--output", path).error(1)
    assert str(path) in message
    assert list(tmp_path.iterdir()) == []


def test_numbers_survive_json_exactly(cli: Cli, tiny_table: Path):
    """A float32 printed and read again is the same float32."""
    again = vectors(cli("embed", tiny_table, *TEXTS, "--format", "jsonl").out)
    assert math.isclose(float(np.linalg.norm(again[0])), 1, abs_tol=1e-6)
    np.testing.assert_array_equal(again, expected(tiny_table))


@pytest.mark.parametrize("option", ["--output", "--save-ranges"])
def test_the_model_is_not_written_over(option: str, cli: Cli, tiny_table: Path, tmp_path: Path):
    model = tmp_path / "model.parquet"
    model.write_bytes(tiny_table.read_bytes())
    link = tmp_path / "link.parquet"
    link.symlink_to(model)
    precision = ["--precision", "int8"] if option == "--save-ranges" else []
    message = cli("embed", model, "the cat", "a dog", option, link, *precision).error(2)
    assert message == f"{link} is read by this command; write to another file"
    assert model.read_bytes() == tiny_table.read_bytes()


def test_the_texts_are_not_written_over(cli: Cli, tiny_table: Path, tmp_path: Path):
    texts = tmp_path / "texts.jsonl"
    texts.write_text("the cat\n")
    message = cli("embed", tiny_table, "--file", texts, "-o", texts).error(2)
    assert "is read by this command" in message
    assert texts.read_text() == "the cat\n"


def test_controls_do_not_reach_the_terminal(cli: Cli, tiny_table: Path):
    assert "\x1b" not in cli("embed", tiny_table, "the \x1b[31mcat").out
