"""Real transformers classes of every supported family convert to the bit, heads dropped by name."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from llm_compression import convert
from llm_compression.errors import CheckpointError
from llm_compression.spec.block import Activation
from llm_compression.weights.reader import WeightTable
from tests.conftest import CheckpointFactory
from tests.conversion.checkpoints import (
    SINGLE,
    assert_same_bits,
    edit_config,
    read_tensors,
    save_as,
    write_tensors,
)

HEADS = {
    ("bert", "BertForMaskedLM"): "cls.",
    ("bert", "BertForPreTraining"): "cls.",
    ("bert", "BertForSequenceClassification"): "classifier.",
    ("bert", "BertForQuestionAnswering"): "qa_outputs.",
    ("roberta", "RobertaForMaskedLM"): "lm_head.",
    ("roberta", "RobertaForSequenceClassification"): "classifier.",
    ("xlm-roberta", "XLMRobertaForMaskedLM"): "lm_head.",
    ("distilbert", "DistilBertForMaskedLM"): "vocab_",
    ("distilbert", "DistilBertForSequenceClassification"): "(pre_)?classifier.",
}
BERT_NAMES = {
    "text.embeddings.token": "embeddings.word_embeddings.weight",
    "text.embeddings.position": "embeddings.position_embeddings.weight",
    "text.embeddings.type": "embeddings.token_type_embeddings.weight",
    "text.embeddings.norm.weight": "embeddings.LayerNorm.weight",
    "text.block.01.attn.q.weight": "encoder.layer.1.attention.self.query.weight",
    "text.block.01.attn.k.bias": "encoder.layer.1.attention.self.key.bias",
    "text.block.01.attn.v.weight": "encoder.layer.1.attention.self.value.weight",
    "text.block.01.attn.o.weight": "encoder.layer.1.attention.output.dense.weight",
    "text.block.01.attn_norm.bias": "encoder.layer.1.attention.output.LayerNorm.bias",
    "text.block.01.mlp.up.weight": "encoder.layer.1.intermediate.dense.weight",
    "text.block.01.mlp.down.weight": "encoder.layer.1.output.dense.weight",
    "text.block.01.mlp_norm.weight": "encoder.layer.1.output.LayerNorm.weight",
    "text.pooler.weight": "pooler.dense.weight",
}
DISTILBERT_NAMES = {
    "text.embeddings.token": "embeddings.word_embeddings.weight",
    "text.embeddings.position": "embeddings.position_embeddings.weight",
    "text.embeddings.norm.bias": "embeddings.LayerNorm.bias",
    "text.block.01.attn.q.weight": "transformer.layer.1.attention.q_lin.weight",
    "text.block.01.attn.k.bias": "transformer.layer.1.attention.k_lin.bias",
    "text.block.01.attn.v.weight": "transformer.layer.1.attention.v_lin.weight",
    "text.block.01.attn.o.weight": "transformer.layer.1.attention.out_lin.weight",
    "text.block.01.attn_norm.bias": "transformer.layer.1.sa_layer_norm.bias",
    "text.block.01.mlp.up.weight": "transformer.layer.1.ffn.lin1.weight",
    "text.block.01.mlp.down.weight": "transformer.layer.1.ffn.lin2.weight",
    "text.block.01.mlp_norm.weight": "transformer.layer.1.output_layer_norm.weight",
}
NAMES = {
    "bert": BERT_NAMES,
    "roberta": BERT_NAMES,
    "xlm-roberta": BERT_NAMES,
    "distilbert": DISTILBERT_NAMES,
}


@pytest.fixture(scope="session")
def family(make_checkpoint: CheckpointFactory):
    """One unchanged checkpoint for each model type, made once."""
    made: dict[str, Path] = {}

    def of(model_type: str) -> Path:
        if model_type not in made:
            made[model_type] = make_checkpoint(model_type)
        return made[model_type]

    return of


def sources(table: Path) -> dict[str, str]:
    """Canonical name -> the source's name."""
    return {entry.name: entry.source for entry in WeightTable(table).manifest.tensors}


@pytest.mark.parametrize("model_type", NAMES)
def test_a_bare_encoder(model_type: str, family, target: Path):
    report = convert(family(model_type), target)
    assert_same_bits(target, read_tensors(family(model_type)))
    assert report.dropped == ()
    assert NAMES[model_type].items() <= sources(target).items()


@pytest.mark.parametrize(("model_type", "architecture"), HEADS)
def test_a_model_with_a_head(
    model_type: str, architecture: str, family, target: Path, tmp_path: Path
):
    folder = shutil.copytree(family(model_type), tmp_path / "checkpoint")
    source = save_as(folder, architecture)
    report = convert(folder, target)
    assert_same_bits(target, source)
    head = re.compile(HEADS[model_type, architecture])
    assert report.dropped
    for line in report.dropped:
        name, _, reason = line.partition(": ")
        assert head.match(name)
        assert "head" in reason
    prefix = {"xlm-roberta": "roberta"}.get(model_type, model_type)
    own = {n: f"{prefix}.{s}" for n, s in NAMES[model_type].items() if n in sources(target)}
    assert own.items() <= sources(target).items()
    assert WeightTable(target).manifest.provenance.architecture == architecture


def test_names_from_tensorflow(bert: Path, target: Path):
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in read_tensors(bert).items()
    }
    assert sum(name.endswith(("gamma", "beta")) for name in old) == 2 * (1 + 2 * 2)
    write_tensors(bert, old)
    convert(bert, target)
    assert_same_bits(target, old)
    assert sources(target)["text.block.00.mlp_norm.bias"] == "encoder.layer.0.output.LayerNorm.beta"


def test_gamma_and_weight_together_are_a_duplicate(bert: Path, target: Path):
    tensors = read_tensors(bert)
    write_tensors(bert, {**tensors, "embeddings.LayerNorm.gamma": torch.ones(32)})
    with pytest.raises(
        CheckpointError, match=r"duplicate: .*LayerNorm\.\w+ and .*LayerNorm\.\w+ both"
    ):
        convert(bert, target)


def test_buffers_of_old_releases_are_dropped(bert: Path, target: Path):
    buffers = {
        "embeddings.position_ids": torch.arange(40).unsqueeze(0),
        "embeddings.token_type_ids": torch.zeros(1, 40, dtype=torch.int64),
    }
    write_tensors(bert, {**read_tensors(bert), **buffers})
    report = convert(bert, target)
    assert [line.partition(": ")[0] for line in report.dropped] == sorted(buffers)
    assert all("buffer" in line for line in report.dropped)


def test_without_a_pooler(bert: Path, target: Path):
    kept = {n: t for n, t in read_tensors(bert).items() if not n.startswith("pooler")}
    (bert / SINGLE).unlink()
    write_tensors(bert, kept)
    convert(bert, target)
    assert_same_bits(target, kept)
    assert not WeightTable(target).manifest.spec.text.pooler


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("gelu", Activation.GELU),
        ("gelu_new", Activation.GELU_TANH),
        ("gelu_pytorch_tanh", Activation.GELU_TANH),
        ("relu", Activation.RELU),
        ("silu", Activation.SILU),
        ("swish", Activation.SILU),
        ("quick_gelu", Activation.QUICK_GELU),
    ],
)
def test_activations(name: str, activation: Activation, bert: Path, target: Path):
    edit_config(bert, hidden_act=name)
    convert(bert, target)
    assert WeightTable(target).manifest.spec.text.block.activation is activation


def test_the_spec_says_what_the_config_says(bert: Path, target: Path):
    edit_config(bert, layer_norm_eps=1e-7)
    convert(bert, target)
    text = WeightTable(target).manifest.spec.text
    assert (text.vocab_size, text.max_position_embeddings, text.type_vocab_size) == (64, 40, 2)
    assert (text.num_layers, text.position_offset, text.pooler) == (2, 0, True)
    assert (text.block.hidden_size, text.block.num_heads, text.block.intermediate_size) == (
        32, 4, 64,
    )  # fmt: skip
    assert text.block.norm_eps == 1e-7


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta"])
@pytest.mark.parametrize("stated", [True, False])
def test_roberta_counts_positions_from_after_its_padding_token(
    model_type: str, stated: bool, make_checkpoint: CheckpointFactory, target: Path
):
    """Padding is token 1, as transformers itself takes it where the config does not say."""
    folder = make_checkpoint(model_type, pad_token_id=1)
    if not stated:
        edit_config(folder, drop=("pad_token_id",))
    convert(folder, target)
    text = WeightTable(target).manifest.spec.text
    assert (text.position_offset, text.max_tokens) == (2, 38)


def test_distilbert_has_no_token_types_and_a_fixed_epsilon(family, target: Path):
    convert(family("distilbert"), target)
    text = WeightTable(target).manifest.spec.text
    assert (text.type_vocab_size, text.block.norm_eps, text.pooler) == (0, 1e-12, False)
