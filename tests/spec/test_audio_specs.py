"""Specs of sounds, audio towers and their decoders, and what must come together."""

import json
from dataclasses import FrozenInstanceError, fields, replace
from math import prod
from typing import Any

import pytest

from llm_compression.errors import SpecError
from llm_compression.spec import codec
from llm_compression.spec.block import Activation, AttentionBias, BlockSpec, NormPlacement
from llm_compression.spec.model import Family, ModelSpec
from llm_compression.spec.names import TOWERS
from llm_compression.spec.sound import SoundSpec
from llm_compression.spec.tensors import audio_tensors, expected_tensors
from llm_compression.spec.towers import AudioDecoderSpec, AudioSpec
from tests.spec.specs import BLOCK, MODEL

PRE = BlockSpec(
    8, 2, 12, NormPlacement.PRE, 1e-5, Activation.GELU, attention_bias=AttentionBias.ALL_BUT_KEY
)
AUDIO = AudioSpec(num_mel_bins=4, max_source_positions=50, num_layers=1, block=PRE)
SOUND = SoundSpec(sampling_rate=16000, n_fft=400, hop_length=160, chunk_length=1)
DECODER = AudioDecoderSpec(
    vocab_size=20, max_target_positions=6, num_layers=1, block=replace(PRE, causal=True)
)
WHISPER = ModelSpec(Family.WHISPER, None, None, None, audio=AUDIO, sound=SOUND)


@pytest.mark.parametrize("name", ["num_mel_bins", "max_source_positions", "num_layers"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_of_an_audio_tower(name: str, value: int) -> None:
    with pytest.raises(SpecError, match=rf"^audio\.{name} is {value}; it must be at least 1$"):
        replace(AUDIO, **{name: value})


@pytest.mark.parametrize("name", ["vocab_size", "max_target_positions", "num_layers"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_of_a_decoder(name: str, value: int) -> None:
    said = rf"^audio_decoder\.{name} is {value}; it must be at least 1$"
    with pytest.raises(SpecError, match=said):
        replace(DECODER, **{name: value})


@pytest.mark.parametrize("name", ["sampling_rate", "n_fft", "hop_length", "chunk_length"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_of_a_sound(name: str, value: int) -> None:
    with pytest.raises(SpecError, match=rf"^sound\.{name} is {value}; it must be at least 1$"):
        replace(SOUND, **{name: value})


@pytest.mark.parametrize("hop", [161, 16001, 3])
def test_a_window_is_whole_hops(hop: int) -> None:
    said = rf"sound\.hop_length {hop} does not divide the 16000 samples of a window"
    with pytest.raises(SpecError, match=said):
        replace(SOUND, hop_length=hop)


@pytest.mark.parametrize(
    ("values", "samples", "frames"),
    [({}, 16000, 100), ({"chunk_length": 30}, 480_000, 3000), ({"hop_length": 16000}, 16000, 1)],
)
def test_samples_and_frames_of_a_window(values: dict[str, int], samples: int, frames: int) -> None:
    sound = replace(SOUND, **values)
    assert (sound.window_samples, sound.window_frames) == (samples, frames)


@pytest.mark.parametrize("part", [AUDIO, SOUND, DECODER, WHISPER])
def test_specs_cannot_change(part: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(part, fields(part)[0].name, None)


@pytest.mark.parametrize("part", [AUDIO, SOUND, DECODER, WHISPER])
def test_a_spec_survives(part: Any) -> None:
    assert codec.loads(type(part), codec.dumps(part), "here") == part


def test_a_bias_is_named_by_the_maps_that_have_one() -> None:
    assert {kind.value for kind in AttentionBias} == {"qkvo", "qvo"}
    assert BLOCK.attention_bias is AttentionBias.ALL


@pytest.mark.parametrize("value", ["qkv", "", "ovq", None, True])
def test_a_bias_of_another_kind(value: object) -> None:
    plain = {**codec.to_plain(PRE), "attention_bias": value}
    with pytest.raises(SpecError, match=r"attention_bias is .*expected one of \['qkvo', 'qvo'\]"):
        codec.loads(BlockSpec, json.dumps(plain), "here")


TOGETHER = "an audio tower and sound, its preprocessing, come together"


@pytest.mark.parametrize(
    ("spec", "values", "message"),
    [
        (WHISPER, {"sound": None}, TOGETHER),
        (WHISPER, {"audio": None}, "the model has no tower"),
        (WHISPER, {"audio": None, "sound": None, "audio_decoder": DECODER}, "has no tower"),
        (MODEL, {"sound": SOUND}, TOGETHER),
        (MODEL, {"audio": AUDIO}, TOGETHER),
        (MODEL, {"audio_decoder": DECODER}, TOGETHER),
    ],
)
def test_parts_that_come_together(spec: ModelSpec, values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(spec, **values)


@pytest.mark.parametrize("positions", [49, 51, 100, 1500])
def test_two_frames_for_each_position(positions: int) -> None:
    said = (
        f"sound gives 100 frames; the {positions} positions of the audio tower take {2 * positions}"
    )
    with pytest.raises(SpecError, match=said):
        replace(WHISPER, audio=replace(AUDIO, max_source_positions=positions))


@pytest.mark.parametrize(
    ("positions", "sound"), [(1500, {"chunk_length": 30}), (100, {"hop_length": 80})]
)
def test_windows_that_fit(positions: int, sound: dict[str, int]) -> None:
    audio = replace(AUDIO, max_source_positions=positions)
    spec = replace(WHISPER, audio=audio, sound=replace(SOUND, **sound))
    assert spec.audio == audio


def test_a_decoder_is_as_wide_as_the_tower_it_listens_to() -> None:
    wider = replace(DECODER, block=replace(DECODER.block, hidden_size=10))
    with pytest.raises(SpecError, match="audio_decoder is 10 wide and audio 8; they must be equal"):
        replace(WHISPER, audio_decoder=wider)


def test_all_else_of_a_decoder_is_its_own() -> None:
    block = replace(DECODER.block, num_heads=4, intermediate_size=7)
    decoder = replace(DECODER, num_layers=3, block=block)
    assert replace(WHISPER, audio_decoder=decoder).audio_decoder == decoder


def test_a_decoder_is_no_tower() -> None:
    kept = replace(WHISPER, audio_decoder=DECODER)
    assert (kept.towers, kept.dimension) == (WHISPER.towers, WHISPER.dimension) == ((AUDIO,), 8)


def test_towers_stand_in_the_order_of_their_names() -> None:
    both = replace(MODEL, audio=AUDIO, sound=SOUND)
    assert TOWERS == ("text", "vision", "audio")
    assert both.towers == (MODEL.text, AUDIO)
    assert both.dimension == 8


ATTENTION = {
    "q.weight": (8, 8), "q.bias": (8,), "k.weight": (8, 8), "v.weight": (8, 8), "v.bias": (8,),
    "o.weight": (8, 8), "o.bias": (8,),
}  # fmt: skip
REST = {
    "mlp.up.weight": (12, 8), "mlp.up.bias": (12,), "mlp.down.weight": (8, 12),
    "mlp.down.bias": (8,), "mlp_norm.weight": (8,), "mlp_norm.bias": (8,),
}  # fmt: skip


def attention(name: str) -> dict[str, tuple[int, ...]]:
    norm = {f"{name}_norm.weight": (8,), f"{name}_norm.bias": (8,)}
    return {f"{name}.{part}": shape for part, shape in ATTENTION.items()} | norm


ENCODER = {
    "audio.conv1.weight": (8, 4, 3),
    "audio.conv1.bias": (8,),
    "audio.conv2.weight": (8, 8, 3),
    "audio.conv2.bias": (8,),
    "audio.embeddings.position": (50, 8),
    **attention("audio.block.00.attn"),
    **{f"audio.block.00.{name}": shape for name, shape in REST.items()},
    "audio.final_norm.weight": (8,),
    "audio.final_norm.bias": (8,),
}
KEPT = {
    "audio_decoder.embeddings.token": (20, 8),
    "audio_decoder.embeddings.position": (6, 8),
    **attention("audio_decoder.block.00.attn"),
    **{f"audio_decoder.block.00.{name}": shape for name, shape in REST.items()},
    **attention("audio_decoder.block.00.cross"),
    "audio_decoder.final_norm.weight": (8,),
    "audio_decoder.final_norm.bias": (8,),
}


def test_tensors_of_an_audio_tower() -> None:
    assert list(expected_tensors(WHISPER).items()) == list(ENCODER.items())
    assert audio_tensors(AUDIO) == ENCODER


def test_tensors_of_a_decoder_stand_behind_those_of_the_tower() -> None:
    kept = expected_tensors(replace(WHISPER, audio_decoder=DECODER))
    assert list(kept.items()) == [*ENCODER.items(), *KEPT.items()]


def test_a_key_projection_with_a_bias() -> None:
    whole = replace(PRE, attention_bias=AttentionBias.ALL)
    more = audio_tensors(replace(AUDIO, num_layers=2, block=whole)).items()
    less = audio_tensors(replace(AUDIO, num_layers=2)).items()
    assert dict(more - less) == {f"audio.block.0{i}.attn.k.bias": (8,) for i in range(2)}
    assert not less - more


@pytest.mark.parametrize(
    ("shape", "whole", "encoder"),
    [
        ((384, 4, 80, 51865), 37_760_640, 8_208_384),
        ((512, 6, 80, 51865), 72_593_920, 20_590_592),
        ((768, 12, 80, 51865), 241_734_912, 88_154_112),
        ((1024, 24, 80, 51865), 763_857_920, 307_216_384),
        ((1280, 32, 80, 51865), 1_543_304_960, 636_784_640),
        ((1280, 32, 128, 51866), 1_543_490_560, 636_968_960),
    ],
    ids=["tiny", "base", "small", "medium", "large-v2", "large-v3"],
)
def test_parameters_of_the_releases(
    shape: tuple[int, int, int, int], whole: int, encoder: int
) -> None:
    width, layers, mels, tokens = shape
    block = replace(PRE, hidden_size=width, num_heads=width // 64, intermediate_size=4 * width)
    audio = AudioSpec(mels, 1500, layers, block)
    decoder = AudioDecoderSpec(tokens, 448, layers, replace(block, causal=True))
    sound = replace(SOUND, chunk_length=30)
    spec = replace(WHISPER, audio=audio, sound=sound, audio_decoder=decoder)
    assert sum(map(prod, expected_tensors(spec).values())) == whole
    assert sum(map(prod, audio_tensors(audio).values())) == encoder
    assert len(audio_tensors(audio)) == 7 + 15 * layers
