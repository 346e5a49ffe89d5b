"""Every tap of every supported family against transformers, on tiny random models."""

from pathlib import Path

import numpy as np
import pytest

from llm_compression import ArrowEngine, convert
from llm_compression.errors import UnknownArchitectureError
from llm_compression.validation.report import ValidationReport
from llm_compression.validation.validate import validate
from tests.conftest import CheckpointFactory, write_json

pytestmark = pytest.mark.usefixtures("either_core")
TEXTS = ["the cat sits on a mat", "a", "", "dog runs " * 30, "unable . , !"]
TAPS = ["embeddings", "block.00.attn", "block.00.mlp", "block.01.attn", "block.01.mlp",
        "pooled", "embedding"]  # fmt: skip


def check(checkpoint: Path, folder: Path, **options: object) -> ValidationReport:
    table = convert(checkpoint, folder / "model.parquet").path
    report = validate(table, checkpoint, texts=TEXTS, **options)  # type: ignore[arg-type]
    assert report.passed, report.to_table()
    assert [tap.name for tap in report.taps] == TAPS
    return report


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "distilbert"])
def test_family(model_type: str, make_checkpoint: CheckpointFactory, tmp_path: Path) -> None:
    pad = {} if "roberta" not in model_type else {"pad_token_id": 0, "type_vocab_size": 1}
    check(make_checkpoint(model_type, **pad), tmp_path)


def test_roberta_positions_skip_a_padding_token_in_the_text(
    make_checkpoint: CheckpointFactory, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint("roberta", pad_token_id=1, max_position_embeddings=40)
    table = convert(checkpoint, tmp_path / "model.parquet").path
    report = validate(table, checkpoint, texts=["the [UNK] cat", "red [PAD] blue ."])
    assert report.passed, report.to_table()


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
@pytest.mark.parametrize("normalize", [True, False])
def test_pooling(
    pooling: str, normalize: bool, make_checkpoint: CheckpointFactory, tmp_path: Path
) -> None:
    check(make_checkpoint(pooling=pooling, normalize=normalize), tmp_path)


@pytest.mark.parametrize("activation", ["gelu_new", "relu", "silu", "quick_gelu"])
def test_activation(activation: str, make_checkpoint: CheckpointFactory, tmp_path: Path) -> None:
    check(make_checkpoint(hidden_act=activation), tmp_path)


def test_odd_sizes(make_checkpoint: CheckpointFactory, tmp_path: Path) -> None:
    odd = {"hidden_size": 30, "num_attention_heads": 5, "intermediate_size": 17}
    check(make_checkpoint(layer_norm_eps=1e-3, type_vocab_size=3, **odd), tmp_path)


def test_bfloat16_has_its_own_row(tiny_bert: Path, tmp_path: Path) -> None:
    report = check(tiny_bert, tmp_path, compute_dtype="bfloat16")
    assert max(tap.absolute for tap in report.taps) > 1e-4, "bfloat16 must differ from float32"


def test_int8_has_its_own_row(tiny_bert: Path, tmp_path: Path) -> None:
    report = check(tiny_bert, tmp_path, compute_dtype="int8")
    assert max(tap.relative for tap in report.taps) > 1e-3, "int8 must differ from float32"


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_embeddings_equal_sentence_transformers(
    model_type: str, make_checkpoint: CheckpointFactory, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    prompts = {"query": "query : ", "document": "passage : "}
    checkpoint = make_checkpoint(model_type, prompts=prompts)
    ours = ArrowEngine(convert(checkpoint, tmp_path / "m.parquet").path, truncation="ok")
    theirs = SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True)
    for name in ("encode", "encode_query", "encode_document"):
        wanted = getattr(theirs, name)(TEXTS)
        np.testing.assert_allclose(getattr(ours, name)(TEXTS), wanted, atol=2e-6)
    assert ours.max_seq_length == theirs.max_seq_length
    assert ours.prompts.items() <= theirs.prompts.items()


@pytest.mark.parametrize(
    "stated",
    [{}, {"do_lower_case": False}, {"do_lower_case": False, "strip_accents": True},
     {"tokenize_chinese_chars": False}],
)  # fmt: skip
def test_tokenizer_config_wins_over_the_tokenizer(
    stated: dict[str, bool], make_checkpoint: CheckpointFactory, minilm: Path, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(vocab_size=30522)
    (checkpoint / "tokenizer.json").write_bytes((minilm / "tokenizer.json").read_bytes())
    write_json(checkpoint / "tokenizer_config.json", {"pad_token": "[PAD]", **stated})
    table = convert(checkpoint, tmp_path / "model.parquet").path
    report = validate(table, checkpoint, texts=["UPPER lower MiXeD ÀÉÎ Über", "東京 tokyo"])
    assert report.passed, report.to_table()


def test_lowercasing_of_sentence_transformers(
    make_checkpoint: CheckpointFactory, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    checkpoint = make_checkpoint()
    write_json(
        checkpoint / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": True}
    )
    texts = ["The CAT [SEP] sits", "red [CLS] Dog"]
    ours = ArrowEngine(convert(checkpoint, tmp_path / "m.parquet").path)
    theirs = SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True)
    np.testing.assert_allclose(ours.encode(texts), theirs.encode(texts), atol=2e-6)


@pytest.mark.parametrize(
    "setting",
    [{"config_kwargs": {"hidden_act": "relu"}}, {"query_length": 8}, {"module_output_name": "x"}],
)
def test_settings_that_change_the_model_are_refused(
    setting: dict[str, object], make_checkpoint: CheckpointFactory, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint()
    write_json(checkpoint / "sentence_bert_config.json", {"max_seq_length": 32, **setting})
    with pytest.raises(UnknownArchitectureError, match=next(iter(setting))):
        convert(checkpoint, tmp_path / "m.parquet")


def test_a_folder_saved_by_release_6_converts(tiny_bert: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_bert), device="cpu", local_files_only=True)
    model.save_pretrained(str(tmp_path / "saved"))
    check(tmp_path / "saved", tmp_path)
