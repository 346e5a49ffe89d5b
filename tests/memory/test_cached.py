"""A provider with a cache embeds what it has not seen, and gives the rest as it was."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llm_compression import ArrowEngineProvider, EmbeddingCache, MultimodalEmbeddingProvider
from llm_compression.errors import InputError, OutputError
from llm_compression.memory.cache.cached import NotCachedWarning
from llm_compression.memory.cache.content import image_digest, sound_digest, text_digest
from tests.clip_checkpoints import pictures
from tests.conftest import CheckpointFactory
from tests.multimodal.pictures import PICTURE, RGB, encoded
from tests.whisper_checkpoints import RATE, noise

TEXTS = ["the cat sits", "a dog runs", "red"]


@pytest.fixture
def made(caching: MultimodalEmbeddingProvider, monkeypatch: pytest.MonkeyPatch):
    """How many inputs the models of ``caching`` were given, call by call."""
    counts: list[int] = []
    for modality in caching.get_available_modalities():
        space = caching._space(modality)
        for kind, encode in list(space.encoders.items()):

            def counted(inputs, encode=encode, **options):
                counts.append(len(inputs))
                return encode(inputs, **options)

            monkeypatch.setitem(space.encoders, kind, counted)
    return counts


def test_only_what_is_new_is_embedded_in_one_batch(caching, made):
    first = caching.encode_batch(TEXTS[:2])
    second = caching.encode_batch([TEXTS[2], TEXTS[1], TEXTS[0], TEXTS[2]])
    assert made == [2, 1]
    np.testing.assert_array_equal(second[[2, 1]], first)
    np.testing.assert_array_equal(second[0], second[3])
    assert (caching.cache.hits, caching.cache.misses, len(caching.cache)) == (2, 3, 3)


def test_a_full_disk_keeps_nothing_new_and_withholds_nothing(tmp_path, tiny_table, monkeypatch):
    cache = EmbeddingCache(tmp_path / "full.cache")
    provider = ArrowEngineProvider(tiny_table, cache=cache)
    first = provider.encode_batch(TEXTS[:2])

    def full(_: object):
        raise OutputError("database or disk is full")

    monkeypatch.setattr(cache._file, "write", full)
    np.testing.assert_array_equal(provider.encode_batch(TEXTS[:2]), first)
    with pytest.warns(NotCachedWarning, match="made, but not kept: database or disk is full"):
        made = provider.encode_batch(TEXTS)
    np.testing.assert_array_equal(made[:2], first)
    assert (len(cache), cache.hits) == (2, 4)


@pytest.mark.parametrize("name", ["image", "audio"])
def test_files_are_known_by_their_bytes(name: str, caching, made, image_files, sound_files):
    files = {"image": image_files, "audio": sound_files}[name]
    encode = {"image": caching.encode_image, "audio": caching.encode_audio}[name]
    first = encode(files)
    again = encode([files[1].read_bytes(), str(files[0])])
    assert made == [len(files)]
    np.testing.assert_array_equal(again, first[[1, 0]])
    files[0].write_bytes(files[1].read_bytes())
    np.testing.assert_array_equal(encode(files[0]), first[1])


def test_equal_content_is_of_each_space_alone(caching, made, image_files):
    caching.embed("vision", "image", image_files)
    caching.embed("clip", "image", image_files)
    caching.embed("text", "text", TEXTS)
    caching.embed("clip", "text", TEXTS)
    assert made == [3, 3, 3, 3]
    caching.compute_cross_modal_similarity(TEXTS, image_files)
    assert made == [3, 3, 3, 3]


def test_two_models_never_answer_for_each_other(tiny_table: Path, make_checkpoint, tmp_path):
    path = tmp_path / "cache.db"
    first = ArrowEngineProvider(tiny_table, cache=EmbeddingCache(path))
    second = ArrowEngineProvider(make_checkpoint(seed=5), cache=EmbeddingCache(path))
    for provider in (first, second, first, second):
        wanted = provider.engine.encode(TEXTS)
        np.testing.assert_allclose(provider.encode_batch(TEXTS), wanted, atol=1e-6)
    assert (first.cache.hits, second.cache.hits) == (3, 3)


def test_ways_of_one_model_never_answer_for_each_other(make_checkpoint: CheckpointFactory):
    checkpoint = make_checkpoint(prompts={"query": "query : ", "passage": "passage : "})
    provider = ArrowEngineProvider(checkpoint, cache=EmbeddingCache())
    stored = provider.embed("text", "text", TEXTS)
    asked = provider.embed("text", "text", TEXTS, query=True)
    raw = provider.encode_batch(TEXTS, normalize=False)
    provider.engine.max_seq_length = 5
    with pytest.warns(UserWarning, match="tokens"):
        short = provider.encode_batch(TEXTS)
    assert provider.cache.hits == 0
    assert len({vectors.tobytes() for vectors in (stored, asked, raw, short)}) == 4


def test_a_file_serves_the_next_process(tiny_table: Path, tmp_path: Path):
    before = ArrowEngineProvider(tiny_table, cache=EmbeddingCache(tmp_path / "c.db"))
    after = ArrowEngineProvider(tiny_table, cache=EmbeddingCache(tmp_path / "c.db"))
    np.testing.assert_array_equal(before.encode_batch(TEXTS), after.encode_batch(TEXTS))
    assert (after.cache.hits, after.cache.misses) == (3, 0)


def test_what_is_given_out_changes_nothing_within(caching):
    first = caching.encode_batch(TEXTS)
    wanted = first.copy()
    first += 1
    second = caching.encode_batch(TEXTS)
    second += 1
    np.testing.assert_array_equal(caching.encode_batch(TEXTS), wanted)


def test_zero_vectors_of_blank_texts_are_not_kept(caching):
    caching.encode_batch(["", " ", TEXTS[0]])
    assert not caching.encode("").any()
    assert (len(caching.cache), caching.cache.hits) == (1, 0)


def test_open_files_are_embedded_and_not_kept(caching, image_files):
    found = caching.encode_image([io.BytesIO(image_files[0].read_bytes()), image_files[1]])
    np.testing.assert_allclose(found, caching.encode_image(image_files[:2]), atol=1e-6)
    assert (len(caching.cache), caching.cache.hits) == (2, 1)


def test_a_file_that_changes_while_it_is_read_is_not_kept(caching, image_files, monkeypatch):
    space = caching._space("vision")

    def late(inputs, encode=space.encoders["image"], **options):
        image_files[0].write_bytes(image_files[1].read_bytes())
        return encode(inputs, **options)

    with monkeypatch.context() as patch:
        patch.setitem(space.encoders, "image", late)
        caching.encode_image(image_files[0])
    assert len(caching.cache) == 0


def test_an_error_says_which_inputs_it_counts(caching):
    images = [Image.fromarray(picture) for picture in pictures(3)]
    caching.encode_image([images[0]])
    with pytest.raises(InputError, match=r"image 1 is some .*\(counted .*: inputs 1, 2\)"):
        caching.encode_image([images[0], images[1], b"nonsense"])
    with pytest.raises(InputError, match=r"image 0 is some other data[^(]*$"):
        caching.encode_image([b"nonsense"])


# digests


SAMPLES = noise(0.1)
DIGESTS = {
    "text": text_digest("a", ""),
    "prompt": text_digest("a", "query: "),
    "prompt within": text_digest("query: a", ""),
    "other text": text_digest("b", ""),
    "surrogate": text_digest("\ud800", ""),
    "file": image_digest(encoded(PICTURE)),
    "pil": image_digest(PICTURE),
    "pil, turned": image_digest(PICTURE.transpose(Image.Transpose.ROTATE_90)),
    "array": image_digest(RGB),
    "array, one pixel": image_digest(np.where(np.arange(RGB.size).reshape(RGB.shape), RGB, 255)),
    "array, other shape": image_digest(RGB.reshape(24, 16, 3)),
    "array, other type": image_digest(RGB.view(np.int8)),
    "sound": sound_digest({"array": SAMPLES, "sampling_rate": RATE}),
    "sound, other rate": sound_digest({"array": SAMPLES, "sampling_rate": RATE // 2}),
    "sound, other type": sound_digest({"array": SAMPLES.astype(float), "sampling_rate": RATE}),
}


def test_other_content_has_another_digest():
    assert None not in DIGESTS.values()
    assert len(set(DIGESTS.values())) == len(DIGESTS)


@pytest.mark.parametrize(
    ("source", "same"),
    [
        (bytearray(encoded(PICTURE)), "file"),
        (memoryview(encoded(PICTURE)), "file"),
        (PICTURE.copy(), "pil"),
        (RGB[::-1].copy()[::-1], "array"),
        (torch.from_numpy(RGB.copy()), "array"),
    ],
)
def test_equal_content_has_the_same_digest(source: object, same: str):
    assert image_digest(source) == DIGESTS[same]


@pytest.mark.parametrize(
    "source",
    [None, "nowhere.png", "", "a\0b", ".", io.BytesIO(b""), np.array([None]), [1, 2], {"path": "a"},
     "x" * 5000],
)  # fmt: skip
def test_what_has_no_digest(source: object):
    assert image_digest(source) is sound_digest(source) is None


def test_tensors_of_every_type_have_one():
    tensors = [torch.ones(3, 4, 5, dtype=kind, requires_grad=kind.is_floating_point)
               for kind in (torch.bfloat16, torch.float16, torch.float64, torch.uint8)]  # fmt: skip
    assert all(image_digest(tensor) for tensor in tensors)
