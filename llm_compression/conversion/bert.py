"""The BERT family: BERT, RoBERTa, XLM-RoBERTa and DistilBERT as rules and a text spec."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_compression.conversion.rules import Drop, Rename, Rule
from llm_compression.errors import CheckpointError, UnknownArchitectureError
from llm_compression.spec.block import Activation, BlockSpec, NormPlacement
from llm_compression.spec.towers import TextSpec

_HEAD = "a head of pre-training or a task; embeddings do not pass through it"
_BUFFER = "a constant buffer, rebuilt from the spec"


def _affine(source: str, target: str) -> list[Rule]:
    return [Rename(f"{source}.{part}", f"{target}.{part}") for part in ("weight", "bias")]


def _norm(source: str, target: str) -> list[Rule]:
    # Checkpoints that came from TensorFlow call a norm's weight gamma and its bias beta.
    old = [
        Rename(f"{source}.gamma", f"{target}.weight"),
        Rename(f"{source}.beta", f"{target}.bias"),
    ]
    return _affine(source, target) + old


_BERT: list[Rule] = [
    Rename("embeddings.word_embeddings.weight", "text.embeddings.token"),
    Rename("embeddings.position_embeddings.weight", "text.embeddings.position"),
    Rename("embeddings.token_type_embeddings.weight", "text.embeddings.type"),
    *_norm("embeddings.LayerNorm", "text.embeddings.norm"),
    *_affine("encoder.layer.{i}.attention.self.query", "text.block.{i}.attn.q"),
    *_affine("encoder.layer.{i}.attention.self.key", "text.block.{i}.attn.k"),
    *_affine("encoder.layer.{i}.attention.self.value", "text.block.{i}.attn.v"),
    *_affine("encoder.layer.{i}.attention.output.dense", "text.block.{i}.attn.o"),
    *_norm("encoder.layer.{i}.attention.output.LayerNorm", "text.block.{i}.attn_norm"),
    *_affine("encoder.layer.{i}.intermediate.dense", "text.block.{i}.mlp.up"),
    *_affine("encoder.layer.{i}.output.dense", "text.block.{i}.mlp.down"),
    *_norm("encoder.layer.{i}.output.LayerNorm", "text.block.{i}.mlp_norm"),
    *_affine("pooler.dense", "text.pooler"),
    Drop("embeddings.position_ids", _BUFFER),
    Drop("embeddings.token_type_ids", _BUFFER),
]

_DISTILBERT: list[Rule] = [
    Rename("embeddings.word_embeddings.weight", "text.embeddings.token"),
    Rename("embeddings.position_embeddings.weight", "text.embeddings.position"),
    *_norm("embeddings.LayerNorm", "text.embeddings.norm"),
    *_affine("transformer.layer.{i}.attention.q_lin", "text.block.{i}.attn.q"),
    *_affine("transformer.layer.{i}.attention.k_lin", "text.block.{i}.attn.k"),
    *_affine("transformer.layer.{i}.attention.v_lin", "text.block.{i}.attn.v"),
    *_affine("transformer.layer.{i}.attention.out_lin", "text.block.{i}.attn.o"),
    *_norm("transformer.layer.{i}.sa_layer_norm", "text.block.{i}.attn_norm"),
    *_affine("transformer.layer.{i}.ffn.lin1", "text.block.{i}.mlp.up"),
    *_affine("transformer.layer.{i}.ffn.lin2", "text.block.{i}.mlp.down"),
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
    """One ``model_type``: rules, prefix of full checkpoints, the config's names and defaults."""

    prefix: str
    rules: list[Rule]
    names: Mapping[str, str]
    defaults: Mapping[str, object]
    positions_after_padding: bool = False


_NAMES = {
    key: key
    for key in (
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "intermediate_size",
        "hidden_act",
        "layer_norm_eps",
        "type_vocab_size",
    )
}
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

_ROBERTA = Variant("roberta.", _BERT, _NAMES, _ROBERTA_DEFAULTS, positions_after_padding=True)

VARIANTS = {
    "bert": Variant("bert.", _BERT, _NAMES, _DEFAULTS),
    "roberta": _ROBERTA,
    "xlm-roberta": Variant(
        "roberta.", _BERT, _NAMES, _ROBERTA_DEFAULTS, positions_after_padding=True
    ),
    "distilbert": Variant("distilbert.", _DISTILBERT, _DISTIL_NAMES, _DISTIL_DEFAULTS),
}

_ACTIVATIONS = {
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "quick_gelu": Activation.QUICK_GELU,
    "relu": Activation.RELU,
    "silu": Activation.SILU,
    "swish": Activation.SILU,
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


def text_spec(config: Mapping[str, Any], tensors: Mapping[str, object], where: str) -> TextSpec:
    """The tower that ``config.json`` describes.

    Raises:
        UnknownArchitectureError: a variant that the block cannot express.
        CheckpointError: a key is missing from the config.
    """
    variant = VARIANTS[config["model_type"]]
    _refuse_variants(config, where)

    def integer(key: str) -> int:
        return _integer(config, variant, key, where)

    block = BlockSpec(
        hidden_size=integer("hidden_size"),
        num_heads=integer("num_attention_heads"),
        intermediate_size=integer("intermediate_size"),
        norm_placement=NormPlacement.POST,
        norm_eps=_number(config, variant, "layer_norm_eps", where),
        activation=_activation(_value(config, variant, "hidden_act", where), where),
    )
    return TextSpec(
        vocab_size=integer("vocab_size"),
        max_position_embeddings=integer("max_position_embeddings"),
        position_offset=integer("pad_token_id") + 1 if variant.positions_after_padding else 0,
        type_vocab_size=integer("type_vocab_size"),
        num_layers=integer("num_hidden_layers"),
        pooler=any(name.endswith("pooler.dense.weight") for name in tensors),
        block=block,
    )


def pad_token_id(config: Mapping[str, Any], where: str) -> int:
    """The padding token of ``config.json``, or what the family takes when it says nothing.

    Raises:
        CheckpointError: it is not an integer.
    """
    return _integer(config, VARIANTS[config["model_type"]], "pad_token_id", where)


def _value(config: Mapping[str, Any], variant: Variant, key: str, where: str) -> Any:
    name = variant.names.get(key, key)
    value = config.get(name)
    if value is None and (name not in config or key == "pad_token_id"):  # null means none given
        value = variant.defaults.get(key)
    if value is None:
        raise CheckpointError(f"{where}: config.json has no {name!r}")
    return value


def _integer(config: Mapping[str, Any], variant: Variant, key: str, where: str) -> int:
    value = _value(config, variant, key, where)
    if type(value) is not int or value < 0:
        name = variant.names.get(key, key)
        raise CheckpointError(f"{where}: config.json says {name} = {value!r}, expected a count")
    return value


def _number(config: Mapping[str, Any], variant: Variant, key: str, where: str) -> float:
    value = _value(config, variant, key, where)
    if type(value) not in (int, float):
        name = variant.names.get(key, key)
        raise CheckpointError(f"{where}: config.json says {name} = {value!r}, expected a number")
    return float(value)


def _activation(name: object, where: str) -> Activation:
    if isinstance(name, str) and name in _ACTIVATIONS:
        return _ACTIVATIONS[name]
    raise UnknownArchitectureError(
        f"{where}: hidden_act {name!r} is not supported, only {sorted(_ACTIVATIONS)}"
    )


def _refuse_variants(config: Mapping[str, Any], where: str) -> None:
    kind = config.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise UnknownArchitectureError(
            f"{where}: position_embedding_type {kind!r} is not supported, only 'absolute'"
        )
    for key in ("is_decoder", "add_cross_attention"):
        if config.get(key):
            raise UnknownArchitectureError(f"{where}: {key} is set; only encoders are supported")
