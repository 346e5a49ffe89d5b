"""What version 1 of the format gained later, and that a model from before keeps its name."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from llm_compression.spec import codec
from llm_compression.spec.block import AttentionBias, BlockSpec
from llm_compression.spec.image import ImageSpec
from llm_compression.spec.model import EmbeddingSpec, ModelSpec, TokenizerSpec
from llm_compression.spec.sound import SoundSpec
from llm_compression.spec.towers import AudioDecoderSpec, AudioSpec, TextSpec, VisionSpec
from llm_compression.weights.loader import WeightLoader
from tests.format.test_golden import FINGERPRINT, GOLDEN
from tests.spec.specs import BLOCK, MODEL
from tests.spec.test_audio_specs import AUDIO, DECODER, SOUND, WHISPER
from tests.spec.test_vision_specs import CLIP, CLIP_TEXT

GOLDEN_CLIP = Path(__file__).parents[1] / "parity" / "golden" / "clip.parquet"
CLIP_FINGERPRINT = "6d61d0196d6b6feab0b7e8c93381f9ce966b03ad5f23fa0bab29f999cadf56d0"
UNCHANGED = (VisionSpec, ImageSpec, AudioSpec, AudioDecoderSpec, SoundSpec, EmbeddingSpec)
LATER: dict[type, dict[str, Any]] = {
    BlockSpec: {"causal": False, "attention_bias": AttentionBias.ALL},
    TextSpec: {"embedding_norm": True, "final_norm": False, "projection_dim": None},
    TokenizerSpec: {"eos_token_id": None},
    ModelSpec: dict.fromkeys(("vision", "image", "audio", "sound", "audio_decoder")),
    **{kind: {} for kind in UNCHANGED},
}
WITH_ALL = [kind for kind in LATER if LATER[kind]]
PLACES = {BlockSpec: ("text", "block"), TextSpec: ("text",), TokenizerSpec: ("tokenizer",)}
TEXT = replace(CLIP_TEXT, block=replace(CLIP_TEXT.block, attention_bias=AttentionBias.ALL_BUT_KEY))
EVERYTHING = replace(CLIP, text=TEXT, audio=AUDIO, sound=SOUND, audio_decoder=DECODER)


def found(value: Any, kind: type) -> dict[str, Any]:
    """The keys that a spec's JSON has at the place of ``kind``."""
    plain: dict[str, Any] = json.loads(codec.dumps(value))
    for step in PLACES.get(kind, ()):
        plain = plain[step]
    return plain


@pytest.mark.parametrize("kind", WITH_ALL)
def test_they_are_left_out_at_their_defaults(kind: type) -> None:
    assert not LATER[kind].keys() & found(MODEL, kind).keys()
    assert LATER[kind].keys() <= found(EVERYTHING, kind).keys()


@pytest.mark.parametrize("kind", LATER)
def test_they_are_these(kind: type) -> None:
    """Another one would change the fingerprints of models that have it not."""
    own = {f.name: f.default for f in fields(kind) if "later" in f.metadata}
    assert own == LATER[kind]


@pytest.mark.parametrize("kind", WITH_ALL)
def test_a_spec_of_the_first_release_has_all_the_others(kind: type) -> None:
    first = {f.name for f in fields(kind)} - LATER[kind].keys()
    assert found(MODEL, kind).keys() == first


def test_what_is_left_out_comes_back() -> None:
    alone = replace(CLIP, text=None, tokenizer=None, embedding=None)
    for spec in (MODEL, CLIP, alone, WHISPER, EVERYTHING):
        assert codec.loads(ModelSpec, codec.dumps(spec), "here") == spec


def test_a_default_that_is_written_means_the_same() -> None:
    plain = codec.to_plain(MODEL)
    plain |= LATER[ModelSpec]
    plain["text"] |= LATER[TextSpec]
    plain["text"]["block"] |= {"causal": False, "attention_bias": "qkvo"}
    plain["tokenizer"] |= LATER[TokenizerSpec]
    assert codec.loads(ModelSpec, json.dumps(plain), "here") == MODEL
    assert codec.dumps(codec.loads(ModelSpec, json.dumps(plain), "here")) == codec.dumps(MODEL)


@pytest.mark.parametrize(
    ("path", "name"), [(GOLDEN, FINGERPRINT), (GOLDEN_CLIP, CLIP_FINGERPRINT)], ids=["bert", "clip"]
)
def test_a_model_from_before_keeps_its_name(path: Path, name: str) -> None:
    """To the letter: the fingerprint is made from the JSON that is written today."""
    stored = pq.read_metadata(path).metadata[b"llm_compression.spec"].decode()
    loader = WeightLoader(path)
    assert codec.dumps(loader.spec) == stored
    assert loader.fingerprint == name


def test_the_first_model_has_what_all_had_then() -> None:
    spec = WeightLoader(GOLDEN).spec
    assert (spec.vision, spec.image, spec.audio, spec.sound, spec.audio_decoder) == (None,) * 5
    assert spec.text is not None
    assert spec.text.embedding_norm
    assert not spec.text.final_norm
    assert not spec.text.block.causal
    assert spec.text.block.attention_bias is AttentionBias.ALL


def test_the_first_clip_hears_nothing_and_has_every_bias() -> None:
    spec = WeightLoader(GOLDEN_CLIP).spec
    assert (spec.audio, spec.sound, spec.audio_decoder) == (None,) * 3
    assert {tower.block.attention_bias for tower in spec.towers} == {AttentionBias.ALL}


def test_a_block_looks_both_ways_and_has_every_bias_unless_it_is_told() -> None:
    assert not BLOCK.causal
    assert not {"causal", "attention_bias"} & json.loads(codec.dumps(BLOCK)).keys()
    assert '"causal":true' in codec.dumps(CLIP_TEXT.block)
    assert '"attention_bias":"qvo"' in codec.dumps(AUDIO.block)
