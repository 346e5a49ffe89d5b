"""Which models MultimodalEmbeddingProvider has, and when it opens them."""

import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llm_compression import MultimodalEmbeddingProvider
from llm_compression.errors import CheckpointNotFoundError, InputError, ModalityUnavailableError
from llm_compression.memory.providers import spaces
from tests.memory.conftest import MakeProvider
from tests.memory.provider_inputs import IMAGES, INPUTS, PAIRS, SOUNDS


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


def test_a_model_of_texts_is_no_clip(tiny_table: Path):
    with pytest.raises(InputError, match="the model has no vision tower"):
        _ = MultimodalEmbeddingProvider(clip_model_path=tiny_table).clip_dimension


@pytest.mark.parametrize("option", ["compute_dtype", "audio_mode"])
def test_options_are_checked_at_once(option: str):
    with pytest.raises(InputError, match=f"{option} 'slow' is not one of"):
        MultimodalEmbeddingProvider(**{option: "slow"})


def test_a_path_to_nothing(tmp_path: Path):
    with pytest.raises(CheckpointNotFoundError, match="nowhere"):
        MultimodalEmbeddingProvider(tmp_path / "nowhere").encode("a")


def test_a_device_that_is_not_here_is_refused_at_once():
    with pytest.raises(InputError, match="device is 'cuda:99'"):
        MultimodalEmbeddingProvider(device="cuda:99")
    with pytest.raises(InputError, match="device is 'gpu'; pass 'cpu', 'cuda' or 'cuda:N'"):
        MultimodalEmbeddingProvider(device="gpu")
    with pytest.raises(InputError, match="on the CPU use 'bfloat16'"):
        MultimodalEmbeddingProvider(compute_dtype="float16")


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
