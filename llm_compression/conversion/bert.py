"""The BERT family: BERT, RoBERTa, XLM-RoBERTa and DistilBERT as rules and a text spec."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_compression.conversion.config import Config
from llm_compression.conversion.rules import Drop, Rename, Rule, affine
from llm_compression.errors import UnknownArchitectureError
from llm_compression.spec.block import BlockSpec, NormPlacement
from llm_compression.spec.towers import TextSpec

_HEAD = "a head of pre-training or a task; embeddings do not pass through it"
_BUFFER = "a constant buffer, rebuilt from the spec"


def _norm(source: str, target: str) -> list[Rule]:
    # Checkpoints that came from TensorFlow call a norm's weight gamma and its bias beta.
    old = [
        Rename(f"{source}.gamma", f"{target}.weight"),
        Rename(f"{source}.beta", f"{target}.bias"),
    ]
    return affine(source, target) + old


_BERT: list[Rule] = [
    Rename("embeddings.word_embeddings.weight", "text.embeddings.token"),
    Rename("embeddings.position_embeddings.weight", "text.embeddings.position"),
    Rename("embeddings.token_type_embeddings.weight", "text.embeddings.type"),
    *_norm("embeddings.LayerNorm", "text.embeddings.norm"),
    *affine("encoder.layer.{i}.attention.self.query", "text.block.{i}.attn.q"),
    *affine("encoder.layer.{i}.attention.self.key", "text.block.{i}.attn.k"),
    *affine("encoder.layer.{i}.attention.self.value", "text.block.{i}.attn.v"),
    *affine("encoder.layer.{i}.attention.output.dense", "text.block.{i}.attn.o"),
    *_norm("encoder.layer.{i}.attention.output.LayerNorm", "text.block.{i}.attn_norm"),
    *affine("encoder.layer.{i}.intermediate.dense", "text.block.{i}.mlp.up"),
    *affine("encoder.layer.{i}.output.dense", "text.block.{i}.mlp.down"),
    *_norm("encoder.layer.{i}.output.LayerNorm", "text.block.{i}.mlp_norm"),
    *affine("pooler.dense", "text.pooler"),
    Drop("embeddings.position_ids", _BUFFER),
    Drop("embeddings.token_type_ids", _BUFFER),
]

_DISTILBERT: list[Rule] = [
    Rename("embeddings.word_embeddings.weight", "text.embeddings.token"),
    Rename("embeddings.position_embeddings.weight", "text.embeddings.position"),
    *_norm("embeddings.LayerNorm", "text.embeddings.norm"),
    *affine("transformer.layer.{i}.attention.q_lin", "text.block.{i}.attn.q"),
    *affine("transformer.layer.{i}.attention.k_lin", "text.block.{i}.attn.k"),
    *affine("transformer.layer.{i}.attention.v_lin", "text.block.{i}.attn.v"),
    *affine("transformer.layer.{i}.attention.out_lin", "text.block.{i}.attn.o"),
    *_norm("transformer.layer.{i}.sa_layer_norm", "text.block.{i}.attn_norm"),
    *affine("transformer.layer.{i}.ffn.lin1", "text.block.{i}.mlp.up"),
    *affine("transformer.layer.{i}.ffn.lin2", "text.block.{i}.mlp.down"),
    *_norm("transformer.layer.{i}.output_layer_norm", "text.block.{i}.mlp_norm"),
    Drop("embeddings.position_ids", _BUFFER),
]

_HEADS: list[Rule] = [
    Drop(name, _HEAD)
    for name in (
        "cls.*",
        "lm_head.*",
        "classifier.*",
        "qa_outputs.*",
        "pre_classifier.*",
        "vocab_projector.*",
        "vocab_transform.*",
        "vocab_layer_norm.*",
    )
]


@dataclass(frozen=True)
class Variant:
    """One ``model_type``: rules, prefix of full checkpoints, the config's defaults and names."""

    prefix: str
    rules: list[Rule]
    defaults: Mapping[str, object]
    names: Mapping[str, str] = field(default_factory=dict)
    positions_after_padding: bool = False


_DISTIL_NAMES = {
    "hidden_size": "dim",
    "num_attention_heads": "n_heads",
    "num_hidden_layers": "n_layers",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}
# What transformers takes where config.json says nothing: configuration_bert.py, _roberta.py.
# DistilBERT has no key for its eps and no token types: modeling_distilbert.py.
_DEFAULTS = {"layer_norm_eps": 1e-12, "type_vocab_size": 2, "hidden_act": "gelu", "pad_token_id": 0}
_ROBERTA_DEFAULTS = {**_DEFAULTS, "pad_token_id": 1}
_DISTIL_DEFAULTS = {**_DEFAULTS, "type_vocab_size": 0}

_ROBERTA = Variant("roberta.", _BERT, _ROBERTA_DEFAULTS, positions_after_padding=True)

VARIANTS = {
    "bert": Variant("bert.", _BERT, _DEFAULTS),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "distilbert": Variant("distilbert.", _DISTILBERT, _DISTIL_DEFAULTS, _DISTIL_NAMES),
}


def rules(model_type: str, tensors: Mapping[str, object]) -> list[Rule]:
    """The rules for a checkpoint; full models put their encoder under a prefix."""
    variant = VARIANTS[model_type]
    prefix = variant.prefix if any(name.startswith(variant.prefix) for name in tensors) else ""
    return _HEADS + [_prefixed(rule, prefix) for rule in variant.rules]


def _prefixed(rule: Rule, prefix: str) -> Rule:
    if isinstance(rule, Drop):
        return Drop(prefix + rule.source, rule.reason)
    return Rename(prefix + rule.source, rule.target)


def read_config(values: Mapping[str, Any], where: str) -> Config:
    """``config.json`` with the names and defaults of its ``model_type``."""
    variant = VARIANTS[values["model_type"]]
    return Config(values, where, variant.names, variant.defaults)


def text_spec(config: Config, tensors: Mapping[str, object]) -> TextSpec:
    """The tower that ``config.json`` describes.

    Raises:
        UnknownArchitectureError: a variant that the block cannot express.
        CheckpointError: a key is missing from the config.
    """
    _refuse_variants(config)
    after_padding = VARIANTS[config.values["model_type"]].positions_after_padding
    block = BlockSpec(
        hidden_size=config.count("hidden_size"),
        num_heads=config.count("num_attention_heads"),
        intermediate_size=config.count("intermediate_size"),
        norm_placement=NormPlacement.POST,
        norm_eps=config.number("layer_norm_eps"),
        activation=config.activation("hidden_act"),
    )
    return TextSpec(
        vocab_size=config.count("vocab_size"),
        max_position_embeddings=config.count("max_position_embeddings"),
        position_offset=config.count("pad_token_id") + 1 if after_padding else 0,
        type_vocab_size=config.count("type_vocab_size"),
        num_layers=config.count("num_hidden_layers"),
        pooler=any(name.endswith("pooler.dense.weight") for name in tensors),
        block=block,
    )


def _refuse_variants(config: Config) -> None:
    kind = config.values.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise UnknownArchitectureError(
            f"{config.where}: position_embedding_type {kind!r} is not supported, only 'absolute'"
        )
    for key in ("is_decoder", "add_cross_attention"):
        if config.values.get(key):
            raise UnknownArchitectureError(
                f"{config.where}: {key} is set; only encoders are supported"
            )
