"""MultimodalStorage: texts, images and sounds are stored, found again, and never mixed."""

import io
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llm_compression import (
    EmbeddingProvider,
    MultimodalEmbeddingProvider,
    MultimodalStorage,
    convert,
)
from llm_compression.errors import (
    IdentityMismatchError,
    InputError,
    ModalityUnavailableError,
    StorageError,
)
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.vector_storage import VectorStorage
from tests.clip_checkpoints import pictures
from tests.conftest import CheckpointFactory
from tests.memory.conftest import MakeProvider, write_images, write_sounds
from tests.memory.search.reference import same, scores_of
from tests.whisper_checkpoints import RATE, noise

TEXTS = ["a cat sits", "the dog runs in the park", "red mat"]


@pytest.fixture
def storage(tmp_path: Path, every: MultimodalEmbeddingProvider) -> MultimodalStorage:
    return MultimodalStorage(tmp_path / "memory", every)


@pytest.fixture(scope="module")
def image_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def sound_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_sounds(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory,
    every: MultimodalEmbeddingProvider,
    image_files: list[Path],
    sound_files: list[Path],
) -> MultimodalStorage:
    """A memory of all, which tests leave as it is."""
    storage = MultimodalStorage(tmp_path_factory.mktemp("memory"), every)
    storage.add_texts(TEXTS, ids=["t0", "t1", "t2"], metadata=[{"n": i} for i in range(3)])
    storage.add_texts(TEXTS, modality="clip")
    storage.add_images(image_files, ids=["v0", "v1", "v2"])
    storage.add_images(image_files, modality="clip")
    storage.add_sounds(sound_files, durations=[1.5, 2.5])
    return storage


def found_again(storage: MultimodalStorage, images: list[Path], sounds: list[Path]) -> None:
    """Each input finds itself first, by every way to ask for it."""
    for text in TEXTS:
        assert storage.search(text=text, top_k=1)[0].source == text
        best = storage.search(text=text, modality="clip", kind="text", top_k=1)[0]
        assert (best.source, best.modality) == (text, "text")
    for path in images:
        assert storage.search(image=path)[0].source == str(path)
        (match,) = storage.search(image=Image.open(path), modality="clip", kind="image", top_k=1)
        assert (match.source, match.score) == (str(path), pytest.approx(1, abs=1e-5))
    for path in sounds:
        assert storage.search(audio=path, top_k=1)[0].source == str(path)


def test_what_was_stored_is_found(filled, image_files, sound_files) -> None:
    found_again(filled, image_files, sound_files)
    assert filled.search(audio=sound_files[1])[0].duration_seconds == 2.5
    assert filled.search(text=TEXTS[1])[0].metadata == {"n": 1}


def test_a_new_object_finds_it_again(filled, make_provider, image_files, sound_files) -> None:
    found_again(MultimodalStorage(filled.path, make_provider()), image_files, sound_files)


PROGRAM = """
import sys
from llm_compression import MultimodalEmbeddingProvider, MultimodalStorage
path, model, text = sys.argv[1:]
storage = MultimodalStorage(path, MultimodalEmbeddingProvider(model))
print(storage.search(text=text, top_k=1)[0].embedding_id)
"""


def test_a_new_process_finds_it_again(filled, tiny_table: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(filled.path), str(tiny_table), TEXTS[2]]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "t2\n"


def test_texts_find_images_in_the_space_of_clip(filled, every, image_files) -> None:
    found = filled.search(text=TEXTS, modality="clip", kind="image", top_k=3)
    wanted = every.compute_cross_modal_similarity(TEXTS, image_files)
    for matches, scores in zip(found, wanted, strict=True):
        same(matches, scores, 3, ids=[m.embedding_id for m in _by_source(filled, image_files)])


def _by_source(storage: MultimodalStorage, images: list[Path]):
    rows = {m.source: m for m in storage.search(image=images[0], modality="clip", kind="image")}
    return [rows[str(path)] for path in images]


def test_lists_give_lists_and_one_gives_one(filled, image_files, sound_files) -> None:
    for kind, one, many in (("text", TEXTS[0], TEXTS), ("image", image_files[0], image_files),
                            ("audio", sound_files[0], sound_files)):  # fmt: skip
        (single,) = filled.search(**{kind: one}, top_k=1)
        lists = filled.search(**{kind: many}, top_k=1)
        assert lists[0][0].embedding_id == single.embedding_id
        assert len(lists) == len(many)
        assert filled.search(**{kind: []}) == []


def test_options_reach_the_search(filled, every) -> None:
    vectors = every.encode_batch(TEXTS)
    scores = scores_of(every.embed("text", "text", [TEXTS[0]], query=True), vectors)[0]
    ids = ["t0", "t1", "t2"]
    same(filled.search(text=TEXTS[0]), scores, 3, ids=ids)
    same(
        filled.search(text=TEXTS[0], metric="dot", method="int8", oversample=9), scores, 3, ids=ids
    )
    same(filled.search(text=TEXTS[0], filter={"n": {"$gt": 0}}), scores[1:], 2, ids=ids[1:])
    same(filled.search(text=TEXTS[0], embedding_ids=["t2"]), scores[2:], 1, ids=["t2"])
    same(filled.search(vectors[0], top_k=1), scores, 1, ids=ids)
    assert filled.search(text=TEXTS[0], threshold=1.5) == []
    assert filled.search(text=TEXTS[0], model="none") == []
    prefix = filled.search(text=TEXTS[0], dim=8, top_k=1)
    assert prefix[0].score == pytest.approx(1, abs=1e-5)
    with pytest.raises(TypeError, match="topk"):
        filled.search(text=TEXTS[0], topk=1)


def test_the_prompt_of_queries_stands_before_what_is_sought(
    tmp_path: Path, make_checkpoint: CheckpointFactory
) -> None:
    folder = make_checkpoint(prompts={"query": "query: ", "document": "passage: "})
    provider = MultimodalEmbeddingProvider(convert(folder, tmp_path / "m.parquet").path)
    storage = MultimodalStorage(tmp_path / "memory", provider)
    storage.add_texts(["a cat"])
    asked, kept = (provider.embed("text", "text", ["a cat"], query=q) for q in (True, False))
    (match,) = storage.search(text="a cat")
    assert match.score == pytest.approx(float(asked[0] @ kept[0]), abs=1e-5)
    assert not np.allclose(asked, kept, atol=1e-4)


def test_images_and_sounds_without_a_path_need_a_name(storage: MultimodalStorage) -> None:
    image, sound = Image.fromarray(pictures(1)[0]), {"array": noise(1), "sampling_rate": RATE}
    for add, inputs in ((storage.add_images, [image]), (storage.add_sounds, [sound])):
        with pytest.raises(InputError, match=r"input 0 is .*, no path; name it by sources="):
            add(inputs)
        (one,) = add(inputs, sources=["camera"])
        assert len(one) == 32
    assert storage.search(image=image)[0].source == "camera"
    assert storage.search(audio=sound)[0].source == "camera"


@pytest.mark.parametrize(
    "call",
    [
        lambda s, _: s.add_texts("a cat"),
        lambda s, _: s.add_texts(["a cat", 3]),
        lambda s, _: s.add_texts(["a cat", " "]),
        lambda s, _: s.add_texts(["a cat"], ids="x"),
        lambda s, _: s.add_texts(["a cat", "a dog"], ids="xy"),
        lambda s, _: s.add_texts(["a cat"], ids=["x", "y"]),
        lambda s, _: s.add_texts(["a cat"], metadata={"a": 1}),
        lambda s, _: s.add_texts(["a cat"], timestamps=["now"]),
        lambda s, _: s.add_texts(["a cat"], modality="vision"),
        lambda s, files: s.add_images(files[0]),
        lambda s, files: s.add_images(np.zeros((8, 8, 3), np.uint8)),
        lambda s, files: s.add_images(files, sources=["one"]),
        lambda s, files: s.add_images([files[0], files[0].parent / "none.png"]),
        lambda s, files: s.add_images([files[0], b"no picture"], sources=["a", "b"]),
        lambda s, files: s.add_images(files, modality="audio"),
        lambda s, files: s.add_sounds([files[0]]),
        lambda s, _: s.add_sounds(noise(1)),
        lambda s, _: s.add_sounds([noise(1)], sources=["x"], durations=[-1]),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_leaves_nothing_behind(storage, image_files, call) -> None:
    with pytest.raises((InputError, StorageError)):
        call(storage, image_files)
    assert [storage.count(name) for name in ("text", "vision", "audio", "clip")] == [0] * 4


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "give one of"),
        ({"text": "a cat", "image": "a.png"}, "give one of"),
        ({"queries": [1.0], "text": "a cat"}, "give one of"),
        ({"queries": "a cat"}, "text="),
        ({"text": 5}, "inputs is int"),
        ({"text": ["a cat", 5]}, "text 1 is int"),
        ({"text": " "}, "blank"),
        ({"image": 5}, "images is int"),
        ({"audio": 5}, "audio is int"),
        ({"text": "a cat", "modality": "vision"}, "no 'vision' vectors of 'text'"),
        ({"image": "none.png"}, r"none\.png"),
    ],
    ids=str,
)
def test_queries_that_cannot_be_are_refused(filled, query, message: str) -> None:
    with pytest.raises(InputError, match=message):
        filled.search(**query)


def test_without_a_provider_vectors_alone_are_taken(filled) -> None:
    plain = MultimodalStorage(filled.path)
    for call in (lambda: plain.add_texts(["a"]), lambda: plain.search(text="a")):
        with pytest.raises(
            InputError, match=r"no provider .*MultimodalEmbeddingProvider\(\.\.\.\)"
        ):
            call()
    assert len(plain.search(np.ones(32), "text")) == 3


def test_a_provider_that_cannot_embed_for_it_is_refused(tmp_path: Path) -> None:
    class Texts(EmbeddingProvider):
        """The contract alone."""

    with pytest.raises(InputError, match="the provider, Texts, has no method 'identity'"):
        MultimodalStorage(tmp_path, Texts())


def test_a_provider_without_the_model_says_so(filled, tiny_table: Path) -> None:
    text_only = MultimodalStorage(filled.path, MultimodalEmbeddingProvider(tiny_table))
    assert text_only.search(text=TEXTS[0])
    with pytest.raises(ModalityUnavailableError, match="vision_model_path"):
        text_only.search(image=pictures(1)[0])
    with pytest.raises(ModalityUnavailableError, match="clip_model_path"):
        text_only.add_texts(["a"], modality="clip")


def refused(storage: MultimodalStorage, message: str, **query: object) -> None:
    """Neither stores nor searches."""
    (kind, value), *_ = query.items()
    add = {"text": storage.add_texts, "audio": storage.add_sounds}[kind]
    modality = "audio" if kind == "audio" else "text"
    before = storage.count(modality)
    for call in (lambda: add([value]), lambda: storage.search(**query)):
        with pytest.raises(IdentityMismatchError, match=message):
            call()
    assert storage.count(modality) == before


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ({"seed": 1}, "model is '.*' there, '.*' here"),
        ({"max_seq_length": 16}, "max_seq_length is 32 there, 16 here"),
        ({"prompts": {"document": "passage: "}}, "prompt is '' there, 'passage: ' here"),
        ({"pooling": "cls"}, "pooling is 'mean' there, 'cls' here"),
    ],
    ids=str,
)
def test_texts_of_another_model_are_refused(
    filled, make_checkpoint: CheckpointFactory, tmp_path: Path, checkpoint, message: str
) -> None:
    table = convert(make_checkpoint(**checkpoint), tmp_path / "other.parquet").path
    other = MultimodalStorage(filled.path, MultimodalEmbeddingProvider(table))
    refused(other, message, text="a cat")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"audio_mode": "fast"}, "audio_mode is 'exact' there, 'fast' here"),
        ({"audio_window": 1.0}, r"window is 2\.0 there, 1\.0 here"),
        ({"audio_overlap": 0.5}, r"overlap is 0\.0 there, 0\.5 here"),
        ({"normalize_embeddings": False}, "normalized is True there, False here"),
        ({"compute_dtype": "bfloat16"}, "compute_dtype is 'float32' there, 'bfloat16' here"),
    ],
    ids=str,
)
def test_sounds_made_otherwise_are_refused(
    filled, make_provider: MakeProvider, sound_files, options, message: str
) -> None:
    refused(MultimodalStorage(filled.path, make_provider(**options)), message, audio=sound_files[0])


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.ones((1, 4), np.float32), r"Short, gave float32 of shape \(1, 4\) for 2 inputs"),
        (np.ones(4), r"gave float64 of shape \(4,\) for 2 inputs; embed must give \(n, d\)"),
        (None, r"gave object of shape \(\) for 2 inputs"),
        ([[1.0], [1.0, 2]], "differ in width"),
    ],
    ids=str,
)
def test_what_a_provider_gives_is_checked(vectors: object, said: str, tmp_path: Path) -> None:
    class Short:
        """Embeds less than it should."""

        def identity(self, modality: str) -> VectorIdentity:
            return VectorIdentity.declared(modality, "m", 4, normalized=False, precision="float32")

        def embed(self, *inputs: object, query: bool = False) -> object:
            return vectors

    storage = MultimodalStorage(tmp_path, Short())
    storage.store("text", ["a"], ["a"], np.ones((1, 4)), identity=Short().identity("text"))
    with pytest.raises(InputError, match=said):
        storage.search(text=["x", "y"])
    with pytest.raises(InputError, match=said):
        storage.add_texts(["x", "y"])
    assert storage.count("text") == 1


def test_sounds_say_how_long_they_are(storage: MultimodalStorage, sound_files) -> None:
    array = {"array": noise(0.5), "sampling_rate": RATE}
    opened = io.BytesIO(sound_files[0].read_bytes())
    sounds = [*sound_files, sound_files[0].read_bytes(), array, opened]
    storage.add_sounds(sounds, sources=list("abcde"))
    stored = storage.query("audio")["duration_seconds"].to_pylist()
    assert stored == [1.5, 2.5, 1.5, 0.5, None]
    storage.add_sounds(sound_files, durations=[None, 7])
    assert storage.query("audio")["duration_seconds"].to_pylist()[5:] == [None, 7.0]


def test_it_is_sent_by_its_path_and_options(tmp_path: Path, every) -> None:
    options = {"dtype": "int8", "several_models": True, "on_damage": "skip", "auto_compact": False}
    first = MultimodalStorage(tmp_path, every, **options)
    first.add_texts(TEXTS, ids=list("abc"))
    second = pickle.loads(pickle.dumps(first))
    assert second._reopen.keywords == {**options, "provider": second.provider}
    assert second.search(text=TEXTS[1], top_k=1)[0].embedding_id == "b"
    second.store("text", ["d"], ["x"], np.eye(1, 3), model="other")
    assert (type(second), first.count("text")) == (MultimodalStorage, 4)
    plain = pickle.loads(pickle.dumps(VectorStorage(tmp_path, dtype="float16")))
    assert (type(plain), plain.dtype, plain.count("text")) == (VectorStorage, "float16", 4)


def test_inputs_and_ids_have_an_order(storage: MultimodalStorage) -> None:
    with pytest.raises(InputError, match="a set has no order; give a list of text inputs"):
        storage.add_texts(set(TEXTS))
    with pytest.raises(InputError, match="one for each row, not set"):
        storage.add_texts(TEXTS, ids={"1", "2", "3"})
    assert storage.count("text") == 0


def test_no_identity_is_that_of_the_provider(filled, make_checkpoint: CheckpointFactory) -> None:
    other = MultimodalStorage(filled.path, MultimodalEmbeddingProvider(make_checkpoint(seed=1)))
    with pytest.raises(IdentityMismatchError, match="model is"):
        other.search(text=TEXTS[0], identity=None)


def test_several_models_find_only_their_own(
    filled, make_checkpoint: CheckpointFactory, tmp_path: Path, every
) -> None:
    table = convert(make_checkpoint(seed=1), tmp_path / "other.parquet").path
    provider = MultimodalEmbeddingProvider(table)
    path = shutil.copytree(filled.path, tmp_path / "copy")
    both = MultimodalStorage(path, provider, several_models=True)
    both.add_texts(["a bird"], ids=["other"])
    assert [m.embedding_id for m in both.search(text=TEXTS[0])] == ["other"]
    ours = MultimodalStorage(path, every, several_models=True)
    assert {m.embedding_id for m in ours.search(text=TEXTS[0])} == {"t0", "t1", "t2"}
    asked = both.search(text=TEXTS[0], identity=every.identity("text"))
    assert {m.embedding_id for m in asked} == {"t0", "t1", "t2"}


def test_vectors_and_identity_go_over_as_a_table(filled, tmp_path: Path, every) -> None:
    copy = MultimodalStorage(tmp_path / "copy", every)
    for modality in ("text", "vision", "audio", "clip"):
        copy.store_table(modality, filled.query(modality))
        assert copy.query(modality).equals(filled.query(modality), check_metadata=True)
    assert copy.search(text=TEXTS[1], top_k=1)[0].embedding_id == "t1"
