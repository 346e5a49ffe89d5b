"""CLIPEngine: texts and images in one space, as transformers scores them."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llm_compression import WeightLoader, convert
from llm_compression.engine.clip_engine import CLIPEngine
from llm_compression.errors import InputError, TruncationError, WeightTableNotFoundError
from llm_compression.multimodal.text.truncation import TruncationWarning
from llm_compression.multimodal.vision.encoder import VisionEncoder
from tests.clip_checkpoints import CLIPFactory, load_reference, pictures, reference_processor

TEXTS = ["a photo of a cat", "the dog runs", "red ship", "a"]
IMAGES = [Image.fromarray(picture) for picture in pictures(3)]


@pytest.fixture(scope="module")
def engine(tiny_clip_table: Path) -> CLIPEngine:
    return CLIPEngine(tiny_clip_table, mapped=False)


def reference_logits(checkpoint: Path, texts: list[str] = TEXTS) -> np.ndarray:
    """transformers' ``logits_per_text`` (texts, images)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    pixels = reference_processor(checkpoint)(IMAGES, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        found = load_reference(checkpoint)(pixel_values=pixels, **tokens)
    return found.logits_per_text.numpy()


def test_many_give_rows_and_one_gives_a_vector(engine: CLIPEngine) -> None:
    texts, images = engine.encode_text(TEXTS), engine.encode_image(IMAGES)
    assert (texts.shape, images.shape, texts.dtype, images.dtype) == (
        (4, 24), (3, 24), np.float32, np.float32,
    )  # fmt: skip
    np.testing.assert_allclose(engine.encode_text(TEXTS[1]), texts[1], atol=1e-6)
    np.testing.assert_allclose(engine.encode_image(IMAGES[1]), images[1], atol=1e-6)
    assert (engine.get_embedding_dimension(), engine.spec.dimension) == (24, 24)


def test_embeddings_have_unit_length_unless_told_otherwise(engine: CLIPEngine) -> None:
    for encode, inputs in ((engine.encode_text, TEXTS), (engine.encode_image, IMAGES)):
        unit, raw = encode(inputs), encode(inputs, normalize_embeddings=False)
        np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-6)
        lengths = np.linalg.norm(raw, axis=1, keepdims=True)
        assert np.abs(lengths - 1).max() > 0.1
        np.testing.assert_allclose(raw / lengths, unit, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_batches_change_nothing(batch_size: int, engine: CLIPEngine) -> None:
    texts = engine.encode_text(TEXTS, batch_size=batch_size)
    images = engine.encode_image(IMAGES, batch_size=batch_size)
    np.testing.assert_allclose(texts, engine.encode_text(TEXTS), atol=1e-6)
    np.testing.assert_allclose(images, engine.encode_image(IMAGES), atol=1e-6)


def test_nothing_gives_no_rows(engine: CLIPEngine) -> None:
    assert engine.encode_text([]).shape == engine.encode_image([]).shape == (0, 24)
    assert engine.compute_similarity([], IMAGES).shape == (0, 3)
    assert engine.compute_similarity(TEXTS, []).shape == (4, 0)
    assert engine.find_best_matches(TEXTS, []) == [[]] * 4
    assert engine.find_best_text_matches([], TEXTS) == []


def test_logits_are_those_of_transformers(engine: CLIPEngine, tiny_clip: Path) -> None:
    logits = engine.compute_similarity(TEXTS, IMAGES, apply_temperature=True)
    np.testing.assert_allclose(logits, reference_logits(tiny_clip), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_temperature_of_a_checkpoint_in_half_precision(
    dtype: torch.dtype, make_clip: CLIPFactory, tmp_path: Path
) -> None:
    """Its exponential is taken in float32, whatever it is stored as."""
    checkpoint = make_clip(dtype=dtype)
    engine = CLIPEngine(convert(checkpoint, tmp_path / "m.parquet").path)
    wanted = float(load_reference(checkpoint).logit_scale.detach().exp())
    assert engine.logit_scale == pytest.approx(wanted, rel=1e-6)
    logits = engine.compute_similarity(TEXTS, IMAGES, apply_temperature=True)
    np.testing.assert_allclose(logits, reference_logits(checkpoint), atol=1e-4)


def test_similarities_are_cosines_without_the_temperature(engine: CLIPEngine) -> None:
    cosines = engine.compute_similarity(TEXTS, IMAGES)
    wanted = engine.encode_text(TEXTS) @ engine.encode_image(IMAGES).T
    np.testing.assert_allclose(cosines, wanted, atol=1e-6)
    logits = engine.compute_similarity(TEXTS, IMAGES, apply_temperature=True)
    np.testing.assert_allclose(logits, cosines * engine.logit_scale, rtol=1e-5)
    assert engine.logit_scale == pytest.approx(np.exp(4.6), rel=1e-5)


def test_one_text_and_one_image_are_compared_too(engine: CLIPEngine) -> None:
    assert engine.compute_similarity(TEXTS[0], IMAGES[0]).shape == (1, 1)
    assert engine.compute_similarity(TEXTS[0], IMAGES).shape == (1, 3)


def test_embeddings_in_place_of_inputs(engine: CLIPEngine) -> None:
    wanted = engine.compute_similarity(TEXTS, IMAGES)
    texts, images = engine.encode_text(TEXTS), engine.encode_image(IMAGES)
    for a, b in ((texts, images), (texts, IMAGES), (TEXTS, images), (3 * texts, images / 7)):
        np.testing.assert_allclose(engine.compute_similarity(a, b), wanted, atol=1e-6)
    best = [[m.index for m in row] for row in engine.find_best_matches(texts, images)]
    assert best == np.argsort(-wanted).tolist()


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_embeddings_of_another_type(dtype: str, engine: CLIPEngine) -> None:
    """As pandas and JSON give them."""
    texts, images = engine.encode_text(TEXTS), engine.encode_image(IMAGES)
    found = engine.compute_similarity(texts.astype(dtype), images.astype(dtype))
    np.testing.assert_allclose(found, texts @ images.T, atol=1e-2)


@pytest.mark.parametrize("place", ["texts", "images"])
def test_embeddings_of_another_width(place: str, engine: CLIPEngine) -> None:
    wrong = -np.ones((2, 25), np.float32)
    a, b = (wrong, IMAGES) if place == "texts" else (TEXTS, wrong)
    with pytest.raises(InputError, match=r"width 25 are not this model's, which are 24 wide"):
        engine.compute_similarity(a, b)


def test_the_best_images_of_each_text(engine: CLIPEngine) -> None:
    scores = engine.compute_similarity(TEXTS, IMAGES)
    found = engine.find_best_matches(TEXTS, IMAGES, top_k=2)
    assert [[m.index for m in row] for row in found] == np.argsort(-scores)[:, :2].tolist()
    for text, row in enumerate(found):
        assert [m.score for m in row] == pytest.approx([scores[text, m.index] for m in row])


def test_the_best_texts_of_each_image(engine: CLIPEngine) -> None:
    scores = engine.compute_similarity(TEXTS, IMAGES).T
    found = engine.find_best_text_matches(IMAGES, TEXTS, top_k=3)
    assert [[m.index for m in row] for row in found] == np.argsort(-scores)[:, :3].tolist()
    for image, row in enumerate(found):
        assert [m.score for m in row] == pytest.approx([scores[image, m.index] for m in row])


def test_matches_end_with_the_candidates(engine: CLIPEngine) -> None:
    assert [len(row) for row in engine.find_best_matches(TEXTS, IMAGES, top_k=100)] == [3] * 4
    assert [len(row) for row in engine.find_best_matches(TEXTS, IMAGES)] == [3] * 4
    assert len(engine.find_best_matches(TEXTS[0], IMAGES[0], top_k=1)) == 1


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True, "2", None])
def test_a_number_of_matches_that_cannot_be(top_k: object, engine: CLIPEngine) -> None:
    for find, inputs in (
        (engine.find_best_matches, (TEXTS, IMAGES)),
        (engine.find_best_text_matches, (IMAGES, TEXTS)),
    ):
        with pytest.raises(InputError, match="top_k"):
            find(*inputs, top_k=top_k)  # type: ignore[arg-type]


def test_inputs_that_are_none(engine: CLIPEngine, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="input 1 is int"):
        engine.encode_text(["a", 3])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"absent\.jpg"):
        engine.encode_image([IMAGES[0], tmp_path / "absent.jpg"])
    with pytest.raises(InputError, match="image 1"):
        engine.compute_similarity(TEXTS, [IMAGES[0], b"no image"])


def test_long_texts_are_cut_as_asked(tiny_clip_table: Path) -> None:
    long = "the cat " * 20
    with pytest.warns(TruncationWarning, match="longer than max_seq_length 16"):
        CLIPEngine(tiny_clip_table).encode_text(long)
    CLIPEngine(tiny_clip_table, truncation="ok").encode_text(long)
    with pytest.raises(TruncationError):
        CLIPEngine(tiny_clip_table, truncation="error").encode_text(long)


@pytest.mark.parametrize(
    ("architecture", "lacks"),
    [
        ("CLIPTextModel", "no vision tower"),
        ("CLIPTextModelWithProjection", "no vision tower"),
        ("CLIPVisionModel", "no text tower"),
        ("CLIPVisionModelWithProjection", "no text tower"),
    ],
)
def test_a_model_of_one_tower(
    architecture: str, lacks: str, make_clip: CLIPFactory, tmp_path: Path
) -> None:
    table = convert(make_clip(architecture), tmp_path / "m.parquet").path
    with pytest.raises(InputError, match=lacks):
        CLIPEngine(table)


def test_a_model_of_another_family(tiny_table: Path) -> None:
    with pytest.raises(InputError, match="no vision tower"):
        CLIPEngine(tiny_table)
    with pytest.raises(InputError, match="no vision tower"):
        VisionEncoder(tiny_table)


def test_opening(tiny_clip: Path, tiny_clip_table: Path, tmp_path: Path) -> None:
    wanted = CLIPEngine(tiny_clip_table).encode_text(TEXTS)
    for other in (
        CLIPEngine.from_pretrained(tiny_clip),
        CLIPEngine(WeightLoader(tiny_clip_table)),
        CLIPEngine(CLIPEngine(tiny_clip_table).save_pretrained(tmp_path / "saved").parent),
        CLIPEngine(tiny_clip_table, mapped=False, verify=False),
    ):
        np.testing.assert_array_equal(other.encode_text(TEXTS), wanted)
    with pytest.raises(WeightTableNotFoundError, match="from_pretrained"):
        CLIPEngine(tiny_clip)


def test_a_pickled_engine_opens_again(tiny_clip_table: Path) -> None:
    engine = CLIPEngine(tiny_clip_table, truncation="error", compute_dtype="bfloat16")
    content = pickle.dumps(engine)
    again = pickle.loads(content)
    assert len(content) < 1000, "the path, not the weights"
    assert again.fingerprint == engine.fingerprint
    np.testing.assert_array_equal(again.encode_text(TEXTS), engine.encode_text(TEXTS))
    np.testing.assert_array_equal(again.encode_image(IMAGES), engine.encode_image(IMAGES))
    with pytest.raises(TruncationError):
        again.encode_text("the cat " * 20)


def test_a_pickled_engine_notices_another_model(make_clip: CLIPFactory, tmp_path: Path) -> None:
    table = convert(make_clip(), tmp_path / "m.parquet").path
    content = pickle.dumps(CLIPEngine(table))
    convert(make_clip(seed=9), table)
    with pytest.raises(InputError, match="holds another model"):
        pickle.loads(content)


def test_bfloat16_is_near(tiny_clip_table: Path, engine: CLIPEngine) -> None:
    other = CLIPEngine(tiny_clip_table, compute_dtype="bfloat16")
    for ours, theirs in (
        (other.encode_text(TEXTS), engine.encode_text(TEXTS)),
        (other.encode_image(IMAGES), engine.encode_image(IMAGES)),
    ):
        assert ours.dtype == np.float32
        assert 1e-5 < np.abs(ours - theirs).max() < 0.03


@pytest.mark.parametrize("options", [{"compute_dtype": "float16"}, {"truncation": "never"}])
def test_options_that_cannot_be(options: dict[str, str], tiny_clip_table: Path) -> None:
    with pytest.raises(InputError, match=next(iter(options.values()))):
        CLIPEngine(tiny_clip_table, **options)  # type: ignore[arg-type]


def test_flags_that_are_none(engine: CLIPEngine) -> None:
    with pytest.raises(InputError, match="apply_temperature is 'no'; it must be True or False"):
        engine.compute_similarity(TEXTS, IMAGES, apply_temperature="no")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="return_probabilities is 0"):
        engine.zero_shot_classification(IMAGES, ["cat"], return_probabilities=0)  # type: ignore[arg-type]


def test_its_name_says_what_it_is(engine: CLIPEngine, tiny_clip_table: Path) -> None:
    assert repr(engine) == f"CLIPEngine({str(tiny_clip_table)!r}, 24 dimensions)"


def test_one_embedding_and_those_of_torch(engine: CLIPEngine) -> None:
    wanted = engine.compute_similarity(TEXTS, IMAGES)
    text, image = engine.encode_text(TEXTS[0]), engine.encode_image(IMAGES[0])
    np.testing.assert_allclose(engine.compute_similarity(text, image), wanted[:1, :1], atol=1e-6)
    given = torch.from_numpy(engine.encode_image(IMAGES)).to(torch.bfloat16)
    np.testing.assert_allclose(engine.compute_similarity(TEXTS, given), wanted, atol=1e-2)


def test_a_grey_picture_is_not_taken_for_embeddings(engine: CLIPEngine) -> None:
    grey = np.random.default_rng(0).random((50, engine.get_embedding_dimension()), np.float32)
    with pytest.raises(InputError, match="looks like a grey picture"):
        engine.compute_similarity(TEXTS, grey)
    assert engine.compute_similarity(TEXTS, [grey]).shape == (len(TEXTS), 1)


def test_embeddings_with_nan(engine: CLIPEngine) -> None:
    bad = np.full((1, engine.get_embedding_dimension()), np.nan, np.float32)
    with pytest.raises(InputError, match="NaN"):
        engine.compute_similarity(bad, IMAGES)


def test_labels_that_are_the_same_tokens(engine: CLIPEngine) -> None:
    with pytest.raises(InputError, match="classes 'cat' and 'CAT' are the same to the model"):
        engine.class_embeddings(["cat", "dog", "CAT"])
    assert engine.class_embeddings([" cat ", "dog"]).names == ("cat", "dog")


def test_templates_for_classes_that_are_made(engine: CLIPEngine) -> None:
    made = engine.class_embeddings(["cat", "dog"])
    with pytest.raises(InputError, match="templates are for names"):
        engine.zero_shot_classification(IMAGES, made, templates="a {}")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_temperature_of_a_model_in_half_precision(
    dtype: str, tiny_clip: Path, tmp_path: Path
) -> None:
    table = convert(tiny_clip, tmp_path / "half.parquet", dtype=dtype).path
    stored = WeightLoader(table).get_tensor("logit_scale")
    assert stored.dtype == getattr(torch, dtype)
    assert CLIPEngine(table).logit_scale == pytest.approx(float(stored.float().exp()), rel=1e-6)
