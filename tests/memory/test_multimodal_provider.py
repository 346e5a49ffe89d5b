"""MultimodalEmbeddingProvider: each modality by its own model, opened once and only when used."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llm_compression import (
    ArrowEngine,
    AudioEncoder,
    CLIPEngine,
    MultimodalEmbeddingProvider,
    VisionEncoder,
)
from llm_compression.errors import InputError
from llm_compression.memory.identities import (
    clip_identity,
    image_identity,
    sound_identity,
    text_identity,
)
from llm_compression.memory.providers.provider import EmbeddingProviderProtocol
from llm_compression.metrics.similarity import unit_rows
from tests.memory.conftest import MakeProvider
from tests.memory.provider_inputs import IMAGES, INPUTS, PAIRS, SOUNDS, TEXTS
from tests.whisper_checkpoints import RATE


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert (ours.shape, ours.dtype) == (theirs.shape, np.float32)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


@pytest.fixture(scope="module")
def wanted(tiny_table: Path, tiny_clip_table: Path, tiny_whisper_table: Path):
    """What the engines themselves make of `INPUTS`, of unit length."""
    clip, audio = CLIPEngine(tiny_clip_table), AudioEncoder(tiny_whisper_table)
    vision = unit_rows(VisionEncoder(tiny_clip_table).encode(IMAGES))
    return {
        ("text", "text"): ArrowEngine(tiny_table).encode(TEXTS),
        ("vision", "image"): vision,
        ("audio", "audio"): unit_rows(audio.encode(SOUNDS, sampling_rate=RATE)),
        ("clip", "text"): clip.encode_text(TEXTS),
        ("clip", "image"): clip.encode_image(IMAGES),
    }


@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
def test_embed_gives_the_engines_vectors(pair, every: MultimodalEmbeddingProvider, wanted):
    inputs = INPUTS[pair[1]]
    close(every.embed(*pair, inputs), wanted[pair])
    close(every.embed(*pair, inputs, batch_size=1, show_progress=False), wanted[pair])
    close(every.embed(*pair, tuple(inputs[:1])), wanted[pair][:1])
    assert every.embed(*pair, []).shape == (0, wanted[pair].shape[1])


def test_the_contract(every: MultimodalEmbeddingProvider, wanted):
    assert isinstance(every, EmbeddingProviderProtocol)
    assert every.get_embedding_dimension() == every.dimension == 32
    close(every.encode_batch(TEXTS), wanted["text", "text"])
    close(every.encode_batch(["", TEXTS[0]])[1:], wanted["text", "text"][:1])
    assert not every.encode(" ").any()


def test_one_gives_a_vector_and_many_give_rows(every: MultimodalEmbeddingProvider, wanted):
    images, sounds = wanted["vision", "image"], wanted["audio", "audio"]
    close(every.encode_image(IMAGES), images)
    close(every.encode_image(IMAGES[1]), images[1])
    close(every.encode_image(IMAGES[1:2]), images[1:2])
    close(every.encode_audio(SOUNDS, RATE), sounds)
    close(every.encode_audio(SOUNDS[1], RATE), sounds[1])
    assert (every.encode_image([]).shape, every.encode_audio([]).shape) == ((0, 24), (0, 16))


def test_files_are_embedded(every, image_files: list[Path], sound_files: list[Path], wanted):
    close(every.encode_image(image_files), wanted["vision", "image"])
    close(every.encode_audio(str(sound_files[0])), every.encode_audio([sound_files[0]])[0])


@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
def test_normalize_is_honoured(pair, make_provider: MakeProvider, wanted):
    provider = make_provider("cpu", False)
    raw = provider.embed(*pair, INPUTS[pair[1]])
    assert not np.allclose(np.linalg.norm(raw, axis=1), 1)
    close(unit_rows(raw), wanted[pair])
    assert provider.identity(pair[0]).normalized is False


def test_normalize_of_a_call_wins(every: MultimodalEmbeddingProvider):
    for found in (every.encode_image(IMAGES, normalize=False),
                  every.encode_audio(SOUNDS, RATE, normalize=False)):  # fmt: skip
        assert not np.allclose(np.linalg.norm(found, axis=1), 1)


def test_how_sounds_are_heard(make_provider: MakeProvider, tiny_whisper_table: Path):
    options = {"mode": "fast", "window": 1.0, "overlap": 0.25}
    provider = make_provider(**{f"audio_{name}": value for name, value in options.items()})
    encoder = AudioEncoder(tiny_whisper_table, **options)
    found = provider.encode_audio(SOUNDS, RATE, normalize=False)
    close(found, encoder.encode(SOUNDS, sampling_rate=RATE))
    assert provider.identity("audio") == sound_identity(encoder, normalized=True)


def test_all_compute_in_one_type(make_provider: MakeProvider):
    provider = make_provider(compute_dtype="bfloat16")
    kinds = {provider.identity(m).compute_dtype for m in ("text", "vision", "audio", "clip")}
    assert kinds == {"bfloat16"}


# many at once


def test_encode_multimodal(every: MultimodalEmbeddingProvider, sound_files: list[Path], wanted):
    found = every.encode_multimodal(TEXTS[0], IMAGES, sound_files[0])
    assert list(found) == ["text", "vision", "audio"]
    close(found["text"], wanted["text", "text"][0])
    close(found["vision"], wanted["vision", "image"])
    assert found["audio"].shape == (16,)
    assert list(every.encode_multimodal(images=IMAGES[0])) == ["vision"]
    assert every.encode_multimodal(text=TEXTS)["text"].shape == (3, 32)


def test_nothing_to_encode(every: MultimodalEmbeddingProvider):
    with pytest.raises(InputError, match="give text, images or audio"):
        every.encode_multimodal()


# between texts and images


def test_texts_and_images_are_compared_by_clip(every: MultimodalEmbeddingProvider, wanted):
    texts, images = wanted["clip", "text"], wanted["clip", "image"]
    cosines = texts @ images.T
    for a, b in ((TEXTS, IMAGES), (texts, images), (TEXTS, 2 * images)):
        close(every.compute_cross_modal_similarity(a, b), cosines)
    close(every.compute_cross_modal_similarity(TEXTS[0], IMAGES[1]), cosines[:1, 1:2])
    close(every.compute_cross_modal_similarity(texts[0], np.array(IMAGES[1])), cosines[:1, 1:2])


def test_best_matches(every: MultimodalEmbeddingProvider, wanted):
    cosines = wanted["clip", "text"] @ wanted["clip", "image"].T
    found = every.find_best_image_matches(TEXTS, IMAGES, top_k=2)
    assert [[m.index for m in row] for row in found] == np.argsort(-cosines)[:, :2].tolist()
    assert found[0][0].score == pytest.approx(cosines[0].max(), abs=1e-5)
    (row,) = every.find_best_text_matches(IMAGES[2], TEXTS)
    assert [match.index for match in row] == np.argsort(-cosines[:, 2]).tolist()


def test_zero_shot_classes(every: MultimodalEmbeddingProvider, tiny_clip_table: Path):
    names, engine = ["cat", "dog", "truck"], CLIPEngine(tiny_clip_table)
    many = engine.zero_shot_classification(IMAGES, names)
    close(every.zero_shot_classification(IMAGES, names), many)
    close(every.zero_shot_classification(IMAGES[0], names), many[0])
    vectors = engine.encode_image(IMAGES)
    close(every.zero_shot_classification(vectors, names), many)
    close(every.zero_shot_classification(vectors[0], names), many[0])
    bare = engine.zero_shot_classification(IMAGES, names, templates="{}")
    close(every.zero_shot_classification(IMAGES, names, templates="{}"), bare)


def test_texts_of_the_text_model_are_not_clips(every: MultimodalEmbeddingProvider):
    with pytest.raises(InputError, match="width 32 are not this model's, which are 24"):
        every.compute_cross_modal_similarity(every.encode_batch(TEXTS), IMAGES)


# how vectors are made


def test_identities_are_those_of_the_engines(
    every, tiny_table: Path, tiny_clip_table: Path, tiny_whisper_table: Path
):
    clip = CLIPEngine(tiny_clip_table)
    assert every.identity("text") == text_identity(ArrowEngine(tiny_table))
    assert every.identity("vision") == image_identity(clip.vision, normalized=True)
    audio = AudioEncoder(tiny_whisper_table)
    assert every.identity("audio") == sound_identity(audio, normalized=True)
    assert every.identity("clip") == clip_identity(clip)
    ways = {m: every.identity(m) for m in ("text", "vision", "audio", "clip")}
    assert {m: (way.modality, way.pooling) for m, way in ways.items()} == {
        "text": ("text", "mean"),
        "vision": ("image", "cls"),
        "audio": ("audio", "mean"),
        "clip": ("clip", "eos, cls"),
    }
    assert ways["clip"].max_seq_length == 16
    with pytest.raises(InputError, match="modality is 'clip' there, 'image' here"):
        ways["vision"].check(ways["clip"], "v")


def test_identities_follow_the_engine(make_provider: MakeProvider):
    provider = make_provider()
    before = provider.identity("text")
    provider._space("text").encoder.max_seq_length = 9
    assert provider.identity("text") == replace(before, max_seq_length=9)
