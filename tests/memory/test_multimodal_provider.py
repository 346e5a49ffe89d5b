"""MultimodalEmbeddingProvider: each modality by its own model, opened once and only when used."""

import json
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llm_compression import (
    ArrowEngine,
    AudioEncoder,
    CLIPEngine,
    MultimodalEmbeddingProvider,
    VisionEncoder,
)
from llm_compression.errors import CheckpointNotFoundError, InputError, ModalityUnavailableError
from llm_compression.memory.identities import (
    clip_identity,
    image_identity,
    sound_identity,
    text_identity,
)
from llm_compression.memory.providers import spaces
from llm_compression.memory.providers.provider import EmbeddingProviderProtocol
from llm_compression.metrics.similarity import unit_rows
from tests.clip_checkpoints import pictures
from tests.memory.conftest import MakeProvider
from tests.whisper_checkpoints import RATE, noise

TEXTS = ["a photo of a cat", "the dog runs", "red ship"]
IMAGES = [Image.fromarray(picture) for picture in pictures(3)]
SOUNDS = [noise(1.5), noise(2.5, seed=1)]
PAIRS = [("text", "text"), ("vision", "image"), ("audio", "audio"), ("clip", "text"),
         ("clip", "image")]  # fmt: skip
INPUTS = {
    "text": TEXTS,
    "image": IMAGES,
    "audio": [{"array": sound, "sampling_rate": RATE} for sound in SOUNDS],
}


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


# models that are there, and not


def test_dimensions_are_known_from_the_files(
    make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(spaces, "_OPENERS", {})
    provider = make_provider()
    assert (provider.dimension, provider.vision_dimension) == (32, 24)
    assert (provider.audio_dimension, provider.clip_dimension) == (16, 24)
    assert provider.encode_batch(["", " "]).shape == (2, 32)


@pytest.mark.parametrize("modality", ["text", "vision", "audio", "clip"])
def test_a_modality_without_a_model_says_how_to_get_one(modality: str):
    calls = {
        "text": [lambda p: p.encode("a"), lambda p: p.encode_batch([]), lambda p: p.dimension,
                 lambda p: p.encode_multimodal(text="a")],
        "vision": [lambda p: p.encode_image(IMAGES), lambda p: p.vision_dimension],
        "audio": [lambda p: p.encode_audio(SOUNDS), lambda p: p.audio_dimension],
        "clip": [lambda p: p.compute_cross_modal_similarity("a", IMAGES),
                 lambda p: p.find_best_image_matches("a", IMAGES), lambda p: p.clip_dimension,
                 lambda p: p.find_best_text_matches(IMAGES, "a"),
                 lambda p: p.zero_shot_classification(IMAGES, ["a"])],
    }  # fmt: skip
    provider = MultimodalEmbeddingProvider()
    for call in (*calls[modality], lambda p: p.identity(modality)):
        with pytest.raises(ModalityUnavailableError) as caught:
            call(provider)
        assert f"no {modality} model here" in str(caught.value)
        assert f"{modality}_model_path" in str(caught.value)


def test_which_modalities_there_are(every: MultimodalEmbeddingProvider, tiny_table: Path):
    assert every.get_available_modalities() == ["text", "vision", "audio", "clip"]
    assert MultimodalEmbeddingProvider(tiny_table).get_available_modalities() == ["text"]
    assert MultimodalEmbeddingProvider().get_available_modalities() == []


def test_a_model_without_the_tower(tiny_table: Path):
    provider = MultimodalEmbeddingProvider(vision_model_path=tiny_table, clip_model_path=tiny_table)
    for call in (lambda: provider.vision_dimension, lambda: provider.encode_image(IMAGES),
                 lambda: provider.identity("clip")):  # fmt: skip
        with pytest.raises(InputError, match="the model has no vision tower"):
            call()


def test_a_path_to_nothing(tmp_path: Path):
    with pytest.raises(CheckpointNotFoundError, match="nowhere"):
        MultimodalEmbeddingProvider(tmp_path / "nowhere").encode("a")


def test_another_device_is_refused():
    with pytest.raises(InputError, match="device is 'cuda'"):
        MultimodalEmbeddingProvider(device="cuda")


@pytest.mark.parametrize(
    ("pair", "inputs", "said"),
    [
        (("clip", "audio"), SOUNDS, "no 'clip' vectors of 'audio'"),
        (("clip", "text"), ["a", ""], "text 1 is blank"),
        (("vision", "image"), "cat.png", "a single image"),
        (("vision", "image"), IMAGES[0], "a single image"),
        (("vision", "image"), [IMAGES[0], b"nonsense"], "image 1 is some other data"),
        (("audio", "audio"), "cat.wav", "a single sound"),
        (("audio", "audio"), SOUNDS, "sound 0 is an array with sampling_rate None"),
    ],
)
def test_what_cannot_be_embedded(pair, inputs, said: str, every: MultimodalEmbeddingProvider):
    with pytest.raises(InputError, match=said):
        every.embed(*pair, inputs)


# what is loaded, and when


def test_encoders_load_once_under_many_threads(
    make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
):
    opened: list[str] = []
    for modality, opener in list(spaces._OPENERS.items()):

        def counted(file: Path, modality=modality, opener=opener, **options):
            opened.append(modality)
            return opener(file, **options)

        monkeypatch.setitem(spaces._OPENERS, modality, counted)
    provider, barrier, found = make_provider(), threading.Barrier(8), []

    def ask(pair: tuple[str, str]) -> None:
        barrier.wait()
        found.append(provider.embed(*pair, INPUTS[pair[1]]))

    assert opened == []
    threads = [threading.Thread(target=ask, args=(pair,)) for pair in PAIRS[:4] * 2]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert (sorted(opened), len(found)) == (["audio", "clip", "text", "vision"], 8)


def test_a_model_that_did_not_open_is_tried_again(tmp_path: Path, tiny_table: Path):
    provider = MultimodalEmbeddingProvider(tmp_path / "m.parquet")
    with pytest.raises(FileNotFoundError):
        provider.encode("a")
    (tmp_path / "m.parquet").write_bytes(tiny_table.read_bytes())
    assert provider.encode("a").shape == (32,)


PROGRAM = """
import json, sys
from llm_compression import MultimodalEmbeddingProvider, WeightLoader
taken, load = [], WeightLoader.load_weights
WeightLoader.load_weights = lambda self, names=None: taken.extend(names) or load(self, names)
provider = MultimodalEmbeddingProvider(*sys.argv[1:])
provider.encode_batch(["a cat", "a dog"]), provider.vision_dimension, provider.audio_dimension
print(json.dumps([sorted({name.partition(".")[0] for name in taken}), sorted(sys.modules)]))
"""


def test_a_user_of_texts_pays_for_texts(
    tiny_table: Path, tiny_clip_table: Path, tiny_whisper_table: Path
):
    paths = [tiny_table, tiny_clip_table, tiny_whisper_table, tiny_clip_table]
    command = [sys.executable, "-c", PROGRAM, *map(str, paths)]
    towers, modules = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert towers == ["text"]
    heavy = ("PIL", "librosa", "soundfile", "soxr", "transformers")
    assert not set(heavy) & set(modules)
    assert not [name for name in modules if name.startswith("llm_compression.multimodal.audio")]


def test_it_opens_again_where_it_is_sent(make_provider: MakeProvider):
    provider = make_provider("cpu", False, audio_mode="fast")
    found = pickle.loads(pickle.dumps(provider))
    for modality in ("text", "audio"):
        assert found.identity(modality) == provider.identity(modality)
