"""What the files of sentence-transformers say, in the forms that its releases wrote them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_compression import convert
from llm_compression.errors import CheckpointError
from llm_compression.spec.model import EmbeddingSpec, Pooling, Similarity
from llm_compression.weights.reader import WeightTable
from tests.conftest import CheckpointFactory, write_json
from tests.conversion.checkpoints import (
    assert_same_bits,
    edit_config,
    edit_json,
    move_into_subfolder,
    read_tensors,
)

LEGACY = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
PROMPTS = {"query": "query: ", "passage": "passage: ", "none": ""}

Read = Callable[[], EmbeddingSpec]


@pytest.fixture
def embedding(bert: Path, target: Path) -> Read:
    """What the converted model says of its embedding."""

    def read() -> EmbeddingSpec:
        convert(bert, target)
        return WeightTable(target).manifest.spec.embedding

    return read


def legacy_pooling(mode: str | None) -> dict[str, object]:
    """A pooling config as releases before 6 wrote it, every key present."""
    modes = {key: name == mode for name, key in LEGACY.items()}
    return {"word_embedding_dimension": 32, **modes, "include_prompt": True}


@pytest.mark.parametrize("pooling", list(Pooling)[:4])
@pytest.mark.parametrize("old", [True, False])
def test_poolings(pooling: Pooling, old: bool, bert: Path, embedding: Read):
    new = {"embedding_dimension": 32, "pooling_mode": pooling.value, "include_prompt": True}
    write_json(bert / "1_Pooling/config.json", legacy_pooling(pooling.value) if old else new)
    assert embedding().pooling is pooling


@pytest.mark.parametrize(
    "config", [{}, {"pooling_mode": ["mean"]}, legacy_pooling(None), {"pooling_mode": None}]
)
def test_mean_is_what_they_take_when_nothing_is_said(
    config: dict[str, object], bert: Path, embedding: Read
):
    write_json(bert / "1_Pooling/config.json", config)
    assert embedding().pooling is Pooling.MEAN


def test_the_new_key_wins_over_the_old_ones(bert: Path, embedding: Read):
    config = {**legacy_pooling("mean"), "pooling_mode": "cls"}
    write_json(bert / "1_Pooling/config.json", config)
    assert embedding().pooling is Pooling.CLS


@pytest.mark.parametrize("normalize", [True, False])
def test_normalisation_is_a_module(
    normalize: bool, make_checkpoint: CheckpointFactory, target: Path
):
    convert(make_checkpoint(normalize=normalize), target)
    assert WeightTable(target).manifest.spec.embedding.normalize is normalize


def test_names_of_modules_in_release_6(bert: Path, embedding: Read):
    kinds = {
        "": "sentence_transformers.base.modules.transformer.Transformer",
        "1_Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
        "2_Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    }
    rows = [{"idx": i, "path": path, "type": kind} for i, (path, kind) in enumerate(kinds.items())]
    write_json(bert / "modules.json", rows)
    assert embedding().normalize


def test_no_modules_mean_pooling_and_a_note(
    make_checkpoint: CheckpointFactory, target: Path, tiny_bert: Path, tmp_path: Path
):
    report = convert(make_checkpoint(pooling=None), target)
    embedding = WeightTable(target).manifest.spec.embedding
    assert (embedding.pooling, embedding.normalize) == (Pooling.MEAN, False)
    assert len(report.notes) == 1
    assert "no modules.json: mean pooling without normalisation" in report.notes[0]
    assert convert(tiny_bert, tmp_path / "with.parquet").notes == ()


@pytest.mark.parametrize(
    ("stated", "tokenizer", "length"),
    [
        (32, 40, 32),
        (7, 5, 7),
        (400, 40, 40),  # no more than there are positions
        (None, 24, 24),
        (None, 24.0, 24),
        (None, 400, 40),
        (None, None, 40),
        (None, 1000000000000000019884624838656, 40),
        (None, 1e30, 40),
    ],
)
def test_maximum_lengths(
    stated: int | None, tokenizer: float | None, length: int, bert: Path, embedding: Read
):
    write_json(bert / "sentence_bert_config.json", {"max_seq_length": stated})
    edit_json(bert / "tokenizer_config.json", model_max_length=tokenizer)
    assert embedding().max_seq_length == length


@pytest.mark.parametrize("length", [0, -1, 2])
def test_a_length_that_cannot_be(length: int, bert: Path, embedding: Read):
    (bert / "sentence_bert_config.json").unlink()
    edit_json(bert / "tokenizer_config.json", model_max_length=length)
    with pytest.raises(CheckpointError, match=rf"maximum of {length} tokens leaves no room"):
        embedding()


@pytest.mark.parametrize(
    "name", ["sentence_roberta_config.json", "sentence_distilbert_config.json"]
)
def test_the_length_stands_under_other_names_too(name: str, bert: Path, embedding: Read):
    (bert / "sentence_bert_config.json").rename(bert / name)
    edit_json(bert / name, max_seq_length=9)
    assert embedding().max_seq_length == 9


def test_without_a_length_file(bert: Path, embedding: Read):
    (bert / "sentence_bert_config.json").unlink()
    edit_json(bert / "tokenizer_config.json", model_max_length=21)
    assert embedding().max_seq_length == 21


@pytest.mark.parametrize("lower", [True, False, None])
def test_lower_case(lower: bool | None, bert: Path, target: Path):
    edit_json(bert / "sentence_bert_config.json", do_lower_case=lower)
    convert(bert, target)
    assert WeightTable(target).manifest.spec.tokenizer.lowercase is bool(lower)


def test_prompts_and_similarity(bert: Path, embedding: Read):
    config = {
        "__version__": {"sentence_transformers": "6.2.0"},
        "model_type": "SentenceTransformer",
        "prompts": PROMPTS,
        "default_prompt_name": "query",
        "similarity_fn_name": "dot",
    }
    write_json(bert / "config_sentence_transformers.json", config)
    found = embedding()
    assert found.prompts == PROMPTS
    assert found.default_prompt_name == "query"
    assert found.similarity is Similarity.DOT


@pytest.mark.parametrize("name", Similarity)
def test_similarities(name: Similarity, bert: Path, embedding: Read):
    config = {"similarity_fn_name": name.value}
    write_json(bert / "config_sentence_transformers.json", config)
    assert embedding().similarity is name


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": None},
        {"prompts": None},
        {"__version__": {"sentence_transformers": "2.0.0"}},
        {"prompts": {"query": None}},
    ],
)
def test_nothing_said_is_no_prompt_and_cosine(
    config: dict[str, object] | None, bert: Path, embedding: Read
):
    if config is not None:
        write_json(bert / "config_sentence_transformers.json", config)
    found = embedding()
    assert (found.prompts, found.default_prompt_name) == ({}, None)
    assert found.similarity is Similarity.COSINE


def test_a_model_in_a_subfolder(bert: Path, tiny_table: Path, target: Path):
    inner = move_into_subfolder(bert)
    report = convert(bert, target)
    assert_same_bits(target, read_tensors(inner))
    manifest = WeightTable(target).manifest
    assert manifest.spec == WeightTable(tiny_table).manifest.spec
    assert report.fingerprint == WeightTable(tiny_table).fingerprint


def test_a_subfolder_that_is_not_there(bert: Path, target: Path):
    shutil.rmtree(move_into_subfolder(bert))
    with pytest.raises(FileNotFoundError, match="0_Transformer"):
        convert(bert, target)


def test_a_pooling_folder_that_is_not_there(bert: Path, target: Path):
    shutil.rmtree(bert / "1_Pooling")
    with pytest.raises(FileNotFoundError, match=r"1_Pooling has no config\.json"):
        convert(bert, target)


def test_a_model_saved_by_the_installed_release(
    make_checkpoint: CheckpointFactory, tmp_path: Path, target: Path
):
    """Whatever files the library writes today, they say the same as what it read."""
    from sentence_transformers import SentenceTransformer

    source = make_checkpoint(pooling="cls", prompts={"query": "query: "}, max_seq_length=17)
    write_json(source / "1_Pooling/config.json", legacy_pooling("cls"))
    SentenceTransformer(str(source), device="cpu").save_pretrained(str(tmp_path / "saved"))
    convert(source, tmp_path / "source.parquet")
    convert(tmp_path / "saved", target)
    ours, theirs = (
        WeightTable(path).manifest.spec for path in (tmp_path / "source.parquet", target)
    )
    assert theirs.embedding.prompts.pop("document", "") == ""  # release 6 adds an empty one
    assert theirs == ours
    assert theirs.embedding.pooling is Pooling.CLS
    assert theirs.embedding.max_seq_length == 17


def test_an_edited_config_is_another_model(bert: Path, target: Path):
    first = convert(bert, target).fingerprint
    edit_config(bert, layer_norm_eps=1e-6)
    assert convert(bert, target).fingerprint != first
