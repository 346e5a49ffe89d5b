"""``search`` and ``validate``."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from llm_compression import ArrowEngine, convert
from tests.cli.conftest import TEXTS, Cli
from tests.conftest import CheckpointFactory

QUERY = "a cat on the mat"


@pytest.fixture
def corpus(cli: Cli, tiny_table: Path, tmp_path: Path) -> Path:
    """`TEXTS` as vectors of the tiny model."""
    path = tmp_path / "vectors.parquet"
    assert cli("embed", tiny_table, *TEXTS, "--output", path).status == 0
    return path


def ranking(table: Path, query: str = QUERY) -> list[tuple[str, float]]:
    """What the engine itself says, best first."""
    engine = ArrowEngine(table)
    scores = engine.similarity(engine.encode_query(query), engine.encode_document(TEXTS))[0]
    return [(TEXTS[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")]


def found(out: str) -> list[tuple[str, float]]:
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    return [(row["text"], row["score"]) for row in rows]


def same(ours: list[tuple[str, float]], theirs: list[tuple[str, float]]) -> None:
    assert [text for text, _ in ours] == [text for text, _ in theirs]
    np.testing.assert_allclose([s for _, s in ours], [s for _, s in theirs], atol=1e-6)


@pytest.mark.parametrize("how", ["vectors", "texts", "pipe", "dash"])
def test_the_best_come_first(how: str, cli: Cli, tiny_table: Path, corpus: Path, texts_file: Path):
    given: dict[str, list[object]] = {
        "vectors": ["--in", corpus],
        "texts": ["--in", texts_file],
        "pipe": [],
        "dash": ["--in", "-"],
    }
    stdin = texts_file.read_bytes() if how in ("pipe", "dash") else None
    outcome = cli("search", tiny_table, QUERY, *given[how], "--json", stdin=stdin)
    assert (outcome.status, outcome.err) == (0, "")
    same(found(outcome.out), ranking(tiny_table))


def test_prompts_of_queries_and_documents(cli: Cli, prompted_table: Path, texts_file: Path):
    outcome = cli("search", prompted_table, QUERY, "--in", texts_file, "--json")
    same(found(outcome.out), ranking(prompted_table))


def test_as_a_table(cli: Cli, tiny_table: Path, corpus: Path):
    lines = cli("search", tiny_table, QUERY, "--in", corpus, "--top-k", 2).out.splitlines()
    (text, score), (second, _) = ranking(tiny_table)[:2]
    assert lines[0] == f"  1  {score:7.4f}  {text}"
    assert lines[1].startswith("  2  ")
    assert lines[1].endswith(second)
    assert len(lines) == 2


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (4, 4), (5, 5), (100, 5)])
def test_as_many_as_asked(asked: int, given: int, cli: Cli, tiny_table: Path, corpus: Path):
    outcome = cli("search", tiny_table, QUERY, "--in", corpus, "--top-k", asked)
    assert len(outcome.out.splitlines()) == given


@pytest.mark.parametrize("count", [0, -3])
def test_fewer_than_one(count: int, cli: Cli, tiny_table: Path, corpus: Path):
    message = cli("search", tiny_table, QUERY, "--in", corpus, "--top-k", count).error(2)
    assert message == f"--top-k is {count}; it must be at least 1"


@pytest.mark.parametrize("stdin", [b"", b"\n \n"])
def test_nothing_to_search(stdin: bytes, cli: Cli, tiny_table: Path):
    outcome = cli("search", tiny_table, QUERY, stdin=stdin)
    assert (outcome.status, outcome.out) == (0, "")


def test_a_file_of_no_vectors(cli: Cli, tiny_table: Path, tmp_path: Path):
    path = tmp_path / "empty.parquet"
    cli("embed", tiny_table, "--output", path, stdin=b"")
    outcome = cli("search", tiny_table, QUERY, "--in", path)
    assert (outcome.status, outcome.out) == (0, "")


def test_a_query_that_looks_like_an_option(cli: Cli, tiny_table: Path, corpus: Path):
    outcome = cli("search", tiny_table, "--in", corpus, "--json", "--", "-5 cats")
    same(found(outcome.out), ranking(tiny_table, "-5 cats"))


def test_vectors_of_another_model(cli: Cli, prompted_table: Path, corpus: Path):
    message = cli("search", prompted_table, QUERY, "--in", corpus).error(2)
    assert message.startswith(f"the vectors in {corpus} were made differently: model is ")
    assert message.endswith("embed again")


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        ((["--truncate-dim", "8"], []), "dimension is 8 there, 32 here"),
        (([], ["--truncate-dim", "8"]), "dimension is 32 there, 8 here"),
        ((["--precision", "int8"], []), "precision is 'int8' there, 'float32' here"),
        ((["--no-normalize"], []), "normalized is False there, True here"),
        ((["--max-seq-length", "30"], []), "max_seq_length is 30 there, 32 here"),
        (
            (["--compute-dtype", "bfloat16"], []),
            "compute_dtype is 'bfloat16' there, 'float32' here",
        ),
    ],
)
def test_vectors_made_differently(
    options: tuple[list[str], list[str]], differs: str, cli: Cli, corpus: Path, tiny_table: Path
):
    made, searched = options
    assert cli("embed", tiny_table, *TEXTS, "--output", corpus, *made).status == 0
    assert differs in cli("search", tiny_table, QUERY, "--in", corpus, *searched).error(2)


def test_a_parquet_file_without_vectors(cli: Cli, tiny_table: Path, tmp_path: Path):
    message = cli("search", tiny_table, QUERY, "--in", tiny_table).error(2)
    assert message.startswith(f"{tiny_table} holds no vectors of `llm-compression embed`")
    missing = tmp_path / "missing.parquet"
    assert str(missing) in cli("search", tiny_table, QUERY, "--in", missing).error(2)
    text = tmp_path / "text.parquet"
    text.write_text("the cat\n")
    assert str(text) in cli("search", tiny_table, QUERY, "--in", text).error(2)


def test_no_texts_on_a_terminal(cli: Cli, tiny_table: Path):
    assert cli("search", tiny_table, QUERY).error(2).startswith("no texts; ")


def test_validate(cli: Cli, tiny_table: Path, tiny_bert: Path, tmp_path: Path):
    report = tmp_path / "report.json"
    outcome = cli("validate", tiny_table, "--reference", tiny_bert, "--json", report)
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["tap", "n", "max", "abs", "max", "rel", "cosine", "min", "mean"]
    assert [line.split()[0] for line in lines[1:-1]] == [
        "embeddings", "block.00.attn", "block.00.mlp", "block.01.attn", "block.01.mlp", "pooled",
        "embedding",
    ]  # fmt: skip
    assert lines[-1].startswith("passed: 7 taps, 15 texts, ")
    content = json.loads(report.read_text())
    assert content["passed"] is True
    assert content["fingerprint"] == ArrowEngine(tiny_table).fingerprint
    assert [tap["name"] for tap in content["taps"]] == [line.split()[0] for line in lines[1:-1]]


def test_texts_to_validate_with(cli: Cli, tiny_table: Path, tiny_bert: Path, texts_file: Path):
    outcome = cli("validate", tiny_table, "--reference", tiny_bert, "--texts", texts_file)
    assert outcome.status == 0
    assert "passed: 7 taps, 5 texts, " in outcome.out


@pytest.mark.parametrize("bound", [["--absolute", "0"], ["--cosine", "1.1"]])
def test_a_broken_bound_is_a_failure(
    bound: list[str], cli: Cli, tiny_table: Path, tiny_bert: Path, tmp_path: Path
):
    report = tmp_path / "report.json"
    outcome = cli("validate", tiny_table, "--reference", tiny_bert, *bound, "--json", report)
    assert outcome.status == 1
    assert "  FAILED" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("FAILED: 7 taps")
    assert json.loads(report.read_text())["passed"] is False


def test_another_models_checkpoint_is_a_failure(
    cli: Cli, tiny_table: Path, make_checkpoint: CheckpointFactory
):
    outcome = cli("validate", tiny_table, "--reference", make_checkpoint(seed=9))
    assert outcome.status == 1
    assert "FAILED" in outcome.out


def test_a_reference_of_another_family(
    cli: Cli, tiny_table: Path, make_checkpoint: CheckpointFactory
):
    other = make_checkpoint("distilbert")
    message = cli("validate", tiny_table, "--reference", other).error(1)
    assert "is it the same checkpoint?" in message


def test_no_reference(cli: Cli, tiny_table: Path, tmp_path: Path):
    path = tmp_path / "nowhere"
    assert str(path) in cli("validate", tiny_table, "--reference", path).error(1)
    (tmp_path / "empty").mkdir()
    message = cli("validate", tiny_table, "--reference", tmp_path / "empty")
    assert message.status == 1
    assert "Traceback" not in message.err


def test_nothing_to_validate_with(cli: Cli, tiny_table: Path, tiny_bert: Path, tmp_path: Path):
    path = tmp_path / "empty.txt"
    path.write_text("")
    outcome = cli("validate", tiny_table, "--reference", tiny_bert, "--texts", path)
    assert outcome.error(1) == "validation needs at least one text, image or sound"


def test_bfloat16_has_its_own_bounds(cli: Cli, make_checkpoint: CheckpointFactory, tmp_path: Path):
    checkpoint = make_checkpoint(hidden_size=64, num_attention_heads=4)
    table = convert(checkpoint, tmp_path / "model.parquet").path
    arguments = ["validate", table, "--reference", checkpoint, "--compute-dtype", "bfloat16"]
    outcome = cli(*arguments)
    assert "bfloat16, rel <= 0.03, cosine >= 0.999" in outcome.out
    assert outcome.status == 0, outcome.out


def test_vectors_embedded_with_another_prompt(cli: Cli, prompted_table: Path, tmp_path: Path):
    """The model's documents want "passage : "; without it their scores mean something else."""
    texts, vectors = tmp_path / "texts.txt", tmp_path / "vectors.parquet"
    texts.write_text("the cat sits\na dog runs\n")
    cli("embed", prompted_table, "--file", texts, "-o", vectors)
    message = cli("search", prompted_table, "cat", "--in", vectors).error(2)
    assert "prompt is '' there, 'passage: ' here" in message
    cli("embed", prompted_table, "--file", texts, "-o", vectors, "--prompt-name", "passage")
    assert (
        cli("search", prompted_table, "cat", "--in", vectors).out
        == cli("search", prompted_table, "cat", "--in", texts).out
    )


def test_json_lines_are_no_texts(cli: Cli, tiny_table: Path, tmp_path: Path):
    vectors = tmp_path / "vectors.jsonl"
    cli("embed", tiny_table, "the cat", "-o", vectors)
    message = cli("search", tiny_table, "cat", "--in", vectors).error(2)
    assert message.startswith(f"{vectors} holds JSON lines")


def test_a_model_is_no_corpus(cli: Cli, tiny_table: Path):
    message = cli("search", tiny_table, "cat", "--in", tiny_table).error(2)
    assert message.endswith("nothing in it says how they were made")


def test_a_reference_that_does_not_load(
    cli: Cli, tiny_table: Path, tiny_bert: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "bert"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": 9999}))
    message = cli("validate", tiny_table, "--reference", folder).error(1)
    assert message.startswith("transformers cannot load ")


def test_the_reference_is_where_the_model_came_from(cli: Cli, tiny_table: Path, tiny_bert: Path):
    message = cli("validate", tiny_table).error(2)
    assert message == (
        f"{tiny_table} was made from a local folder, {tiny_bert.name}; give it as --reference"
    )
    assert "must be at least 1" in cli("validate", tiny_table, "--samples", "-1").error(2)
