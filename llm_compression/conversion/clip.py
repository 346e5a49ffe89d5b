"""The CLIP family as rules and specs of its two towers, each alone or both with projections."""

from collections.abc import Mapping
from typing import Any

from llm_compression.conversion.config import Config
from llm_compression.conversion.rules import Drop, Rename, Rule, affine, blocks
from llm_compression.errors import UnknownArchitectureError
from llm_compression.spec.block import BlockSpec, NormPlacement
from llm_compression.spec.model import Pooling
from llm_compression.spec.tensors import LOGIT_SCALE
from llm_compression.spec.towers import TextSpec, VisionSpec

_BUFFER = "a constant buffer, rebuilt from the spec"
TEXT_PROJECTION = "text_projection.weight"
VISION_PROJECTION = "visual_projection.weight"

# What transformers takes where config.json says nothing: configuration_clip.py.
_BLOCK_DEFAULTS = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_hidden_layers": 12,
                   "projection_dim": 512}  # fmt: skip
TEXT_DEFAULTS = {**_BLOCK_DEFAULTS, "vocab_size": 49408, "hidden_size": 512,
                 "intermediate_size": 2048, "num_attention_heads": 8,
                 "max_position_embeddings": 77, "pad_token_id": 1,
                 "eos_token_id": 49407}  # fmt: skip
VISION_DEFAULTS = {**_BLOCK_DEFAULTS, "hidden_size": 768, "intermediate_size": 3072,
                   "num_attention_heads": 12, "num_channels": 3, "image_size": 224,
                   "patch_size": 32}  # fmt: skip
_LEGACY_EOS = 2  # the wrong id in configs of before transformers 4.31


_BLOCK = {
    "self_attn.q_proj": "attn.q",
    "self_attn.k_proj": "attn.k",
    "self_attn.v_proj": "attn.v",
    "self_attn.out_proj": "attn.o",
    "layer_norm1": "attn_norm",
    "mlp.fc1": "mlp.up",
    "mlp.fc2": "mlp.down",
    "layer_norm2": "mlp_norm",
}


def _text(prefix: str) -> list[Rule]:
    return [
        Rename(f"{prefix}embeddings.token_embedding.weight", "text.embeddings.token"),
        Rename(f"{prefix}embeddings.position_embedding.weight", "text.embeddings.position"),
        *blocks(f"{prefix}encoder.", "text", _BLOCK),
        *affine(f"{prefix}final_layer_norm", "text.final_norm"),
        Rename(TEXT_PROJECTION, "text.projection.weight"),
        Drop(f"{prefix}embeddings.position_ids", _BUFFER),
    ]


def _vision(prefix: str) -> list[Rule]:
    return [
        Rename(f"{prefix}embeddings.class_embedding", "vision.embeddings.class"),
        Rename(f"{prefix}embeddings.patch_embedding.weight", "vision.embeddings.patch.weight"),
        Rename(f"{prefix}embeddings.position_embedding.weight", "vision.embeddings.position"),
        *affine(f"{prefix}pre_layrnorm", "vision.pre_norm"),  # so spelled
        *blocks(f"{prefix}encoder.", "vision", _BLOCK),
        *affine(f"{prefix}post_layernorm", "vision.post_norm"),
        Rename(VISION_PROJECTION, "vision.projection.weight"),
        Drop(f"{prefix}embeddings.position_ids", _BUFFER),
    ]


RULES: dict[str, list[Rule]] = {
    "clip": [
        *_text("text_model."),
        *_vision("vision_model."),
        Rename("logit_scale", LOGIT_SCALE),
    ],
    # a tower alone has its prefix in checkpoints of transformers before 5, and with a projection
    "clip_text_model": [*_text("text_model."), *_text("")],
    "clip_vision_model": [*_vision("vision_model."), *_vision("")],
}


def tower_config(config: Config, tower: str) -> Config:
    """The part of ``config.json`` that describes ``text`` or ``vision``, defaults known."""
    defaults = TEXT_DEFAULTS if tower == "text" else VISION_DEFAULTS
    if config.values["model_type"] != "clip":
        return Config(config.values, config.where, defaults=defaults)
    key = f"{tower}_config"
    stated = {name: value for name, value in config.values.items() if value is not None}
    part = Config(stated, config.where, defaults={key: {}}).part(key, defaults)
    # the first releases wrote a second part, which wins with its defaults: configuration_clip.py,
    # CLIPConfig.__post_init__
    older = stated.get(f"{key}_dict")
    if older is None:
        return part
    return Config({**part.values, **defaults, **older}, part.where, defaults=defaults)


def text_spec(config: Config, projection_dim: int | None) -> TextSpec:
    """The text tower that its config describes; raises as `Config` does."""
    return TextSpec(
        vocab_size=config.count("vocab_size"),
        max_position_embeddings=config.count("max_position_embeddings"),
        position_offset=0,
        type_vocab_size=0,
        num_layers=config.count("num_hidden_layers"),
        pooler=False,
        block=_block(config, causal=True),
        embedding_norm=False,
        final_norm=True,
        projection_dim=projection_dim,
    )


def vision_spec(config: Config, projection_dim: int | None) -> VisionSpec:
    """The vision tower that its config describes; raises as `Config` does.

    Raises:
        UnknownArchitectureError: it sees another number of channels than three.
    """
    if config.count("num_channels") != 3:
        raise UnknownArchitectureError(
            f"{config.where}: num_channels {config.count('num_channels')} is not supported, only 3"
        )
    return VisionSpec(
        image_size=config.count("image_size"),
        patch_size=config.count("patch_size"),
        num_channels=config.count("num_channels"),
        num_layers=config.count("num_hidden_layers"),
        projection_dim=projection_dim,
        block=_block(config, causal=False),
    )


def pooling(config: Config) -> tuple[Pooling, int | None]:
    """Where the text embedding is read off, and the end token if it is there.

    modeling_clip.py, CLIPTextModel.forward.
    """
    token = config.count("eos_token_id")
    return (Pooling.MAX_ID, None) if token == _LEGACY_EOS else (Pooling.EOS, token)


def projection_dim(config: Config, tensors: Mapping[str, Any], name: str) -> int | None:
    """Width of the projection ``name``, None where the architecture has none."""
    architectures = config.values.get("architectures") or []
    stated = any(str(a).endswith(("CLIPModel", "WithProjection")) for a in architectures)
    whole = Config(config.values, config.where, defaults={"projection_dim": 512})
    return whole.count("projection_dim") if stated or name in tensors else None


def _block(config: Config, *, causal: bool) -> BlockSpec:
    return BlockSpec(
        hidden_size=config.count("hidden_size"),
        num_heads=config.count("num_attention_heads"),
        intermediate_size=config.count("intermediate_size"),
        norm_placement=NormPlacement.PRE,
        norm_eps=config.number("layer_norm_eps"),
        activation=config.activation("hidden_act"),
        causal=causal,
    )
