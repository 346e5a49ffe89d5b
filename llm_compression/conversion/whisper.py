"""The Whisper family as rules and specs: its encoder, and on request its decoder."""

from collections.abc import Iterable

import torch

from llm_compression.conversion.config import Config
from llm_compression.conversion.rules import Drop, Rename, Rule, affine, blocks
from llm_compression.conversion.source import Checkpoint
from llm_compression.errors import UnknownArchitectureError
from llm_compression.spec.block import AttentionBias, BlockSpec, NormPlacement
from llm_compression.spec.towers import AudioDecoderSpec, AudioSpec

_DECODER = "the decoder, which turns sound into text; embeddings do not pass through it"
_OUTPUT = "proj_out.weight"
_TIED = "the decoder's token table a second time"
_CLASSIFIER = "a classification head; embeddings do not pass through it"
# what transformers needs beside the weights to write text
DECODER_FILES = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
    "normalizer.json", "added_tokens.json", "special_tokens_map.json",
)  # fmt: skip
_NORM_EPS = 1e-5  # modeling_whisper.py leaves torch's default

# What transformers takes where config.json says nothing: configuration_whisper.py.
DEFAULTS = {"num_mel_bins": 80, "d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6,
            "encoder_ffn_dim": 1536, "max_source_positions": 1500, "decoder_layers": 4,
            "decoder_attention_heads": 6, "decoder_ffn_dim": 1536, "max_target_positions": 448,
            "vocab_size": 51865, "activation_function": "gelu"}  # fmt: skip


_BLOCK = {
    "self_attn.q_proj": "attn.q",
    "self_attn.k_proj": "attn.k",
    "self_attn.v_proj": "attn.v",
    "self_attn.out_proj": "attn.o",
    "self_attn_layer_norm": "attn_norm",
    "encoder_attn.q_proj": "cross.q",
    "encoder_attn.k_proj": "cross.k",
    "encoder_attn.v_proj": "cross.v",
    "encoder_attn.out_proj": "cross.o",
    "encoder_attn_layer_norm": "cross_norm",
    "fc1": "mlp.up",
    "fc2": "mlp.down",
    "final_layer_norm": "mlp_norm",
}


def _encoder(prefix: str) -> list[Rule]:
    return [
        *affine(f"{prefix}conv1", "audio.conv1"),
        *affine(f"{prefix}conv2", "audio.conv2"),
        Rename(f"{prefix}embed_positions.weight", "audio.embeddings.position"),
        *blocks(prefix, "audio", _BLOCK),
        *affine(f"{prefix}layer_norm", "audio.final_norm"),
    ]


def _decoder(prefix: str) -> list[Rule]:
    embeddings = "audio_decoder.embeddings"
    return [
        Rename(f"{prefix}embed_tokens.weight", f"{embeddings}.token"),
        Rename(f"{prefix}embed_positions.weight", f"{embeddings}.position"),
        *blocks(prefix, "audio_decoder", _BLOCK),
        *affine(f"{prefix}layer_norm", "audio_decoder.final_norm"),
    ]


def rules(*, keep_decoder: bool) -> list[Rule]:
    """What becomes of each tensor."""
    # WhisperForConditionalGeneration has "model." before its names, WhisperModel has not, and an
    # encoder that was saved by itself has nothing before them
    encoders = [rule for prefix in ("model.encoder.", "encoder.", "") for rule in _encoder(prefix)]
    decoders = ("model.decoder.", "decoder.")
    kept = [rule for prefix in decoders for rule in _decoder(prefix)]
    return [
        *encoders,
        *(kept if keep_decoder else [Drop(f"{prefix}*", _DECODER) for prefix in decoders]),
        Drop(_OUTPUT, _TIED if keep_decoder else _DECODER),
        *(Drop(f"{name}*", _CLASSIFIER) for name in ("projector.", "classifier.", "layer_weights")),
    ]


def has_decoder(tensors: Iterable[str]) -> bool:
    """Whether a checkpoint holds the decoder's weights."""
    return any(name.removeprefix("model.").startswith("decoder.") for name in tensors)


def check_tied(checkpoint: Checkpoint) -> None:
    """Refuse a decoder whose output layer is not its token table.

    Raises:
        UnknownArchitectureError: it has another.
    """
    tensors = checkpoint.tensors()
    tables = [name for name in tensors if name.endswith("decoder.embed_tokens.weight")]
    if _OUTPUT not in tensors or not tables:
        return
    if not torch.equal(checkpoint.tensor(_OUTPUT), checkpoint.tensor(tables[0])):
        raise UnknownArchitectureError(
            f"{checkpoint.folder}: {_OUTPUT} is not {tables[0]}, and a decoder with an output "
            "layer of its own is not supported; convert without keep_decoder (--keep-decoder)"
        )


def audio_spec(config: Config) -> AudioSpec:
    """The encoder that ``config.json`` describes; raises as `Config` does.

    Raises:
        UnknownArchitectureError: a variant that the block cannot express.
    """
    if config.values.get("scale_embedding"):
        raise UnknownArchitectureError(f"{config.where}: scale_embedding is not supported")
    return AudioSpec(
        num_mel_bins=config.count("num_mel_bins"),
        max_source_positions=config.count("max_source_positions"),
        num_layers=config.count("encoder_layers"),
        block=_block(config, "encoder", causal=False),
    )


def audio_decoder_spec(config: Config) -> AudioDecoderSpec:
    """The decoder that ``config.json`` describes; raises as `Config` does."""
    return AudioDecoderSpec(
        vocab_size=config.count("vocab_size"),
        max_target_positions=config.count("max_target_positions"),
        num_layers=config.count("decoder_layers"),
        block=_block(config, "decoder", causal=True),
    )


def _block(config: Config, part: str, *, causal: bool) -> BlockSpec:
    return BlockSpec(
        hidden_size=config.count("d_model"),
        num_heads=config.count(f"{part}_attention_heads"),
        intermediate_size=config.count(f"{part}_ffn_dim"),
        norm_placement=NormPlacement.PRE,
        norm_eps=_NORM_EPS,
        activation=config.activation("activation_function"),
        causal=causal,
        attention_bias=AttentionBias.ALL_BUT_KEY,
    )
