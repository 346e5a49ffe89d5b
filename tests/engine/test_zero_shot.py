"""Zero-shot classes: templates, their ensembles, probabilities, and class embeddings kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from llm_compression import convert
from llm_compression.engine.clip_engine import CLIPEngine
from llm_compression.engine.zero_shot import TEMPLATE, ClassEmbeddings
from llm_compression.errors import InputError, OutputError
from tests.clip_checkpoints import CLIPFactory, load_reference, pictures, reference_processor

CLASSES = ["cat", "dog", "red ship"]
TEMPLATES = ["a photo of a {}.", "the {} runs", "{}"]
IMAGES = [Image.fromarray(picture) for picture in pictures(4, seed=3)]


@pytest.fixture(scope="module")
def engine(tiny_clip_table: Path) -> CLIPEngine:
    return CLIPEngine(tiny_clip_table, mapped=False)


@pytest.fixture(scope="module")
def kept(engine: CLIPEngine) -> ClassEmbeddings:
    return engine.class_embeddings(CLASSES)


def test_answers_are_those_of_transformers(engine: CLIPEngine, tiny_clip: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_clip, local_files_only=True)
    texts = [f"a photo of a {name}." for name in CLASSES]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    pixels = reference_processor(tiny_clip)(IMAGES, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        theirs = load_reference(tiny_clip)(pixel_values=pixels, **tokens).logits_per_image
    ours = engine.zero_shot_classification(IMAGES, CLASSES, return_probabilities=False)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)
    chances = engine.zero_shot_classification(IMAGES, CLASSES)
    np.testing.assert_allclose(chances, theirs.softmax(1).numpy(), atol=1e-5)


def test_probabilities_add_up(engine: CLIPEngine) -> None:
    chances = engine.zero_shot_classification(IMAGES, CLASSES)
    assert (chances.shape, chances.dtype) == ((4, 3), np.float32)
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-6)
    assert chances.min() >= 0
    logits = engine.zero_shot_classification(IMAGES, CLASSES, return_probabilities=False)
    np.testing.assert_array_equal(chances.argmax(1), logits.argmax(1))


def test_large_logits_do_not_overflow(engine: CLIPEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "logit_scale", 1e5)
    chances = engine.zero_shot_classification(IMAGES, CLASSES)
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-6)


def test_one_image_and_none(engine: CLIPEngine) -> None:
    assert engine.zero_shot_classification(IMAGES[0], CLASSES).shape == (1, 3)
    assert engine.zero_shot_classification([], CLASSES).shape == (0, 3)
    assert engine.zero_shot_classification(IMAGES, CLASSES[:1]).tolist() == [[1.0]] * 4


def test_images_may_be_embeddings(engine: CLIPEngine) -> None:
    found = engine.zero_shot_classification(engine.encode_image(IMAGES), CLASSES)
    np.testing.assert_allclose(found, engine.zero_shot_classification(IMAGES, CLASSES), atol=1e-5)


def test_a_template_stands_around_each_class(engine: CLIPEngine) -> None:
    assert TEMPLATE == "a photo of a {}."
    wanted = engine.encode_text(["a photo of a cat.", "a photo of a dog."])
    found = engine.class_embeddings(["cat", "dog"])
    np.testing.assert_allclose(found.embeddings, wanted, atol=1e-6)
    assert (found.names, found.model) == (("cat", "dog"), engine.fingerprint)
    bare = engine.class_embeddings(["cat"], templates="{}").embeddings
    np.testing.assert_allclose(bare, engine.encode_text(["cat"]), atol=1e-6)


def test_braces_of_a_class_are_its_own(engine: CLIPEngine) -> None:
    found = engine.class_embeddings(["{}", "{0} %s"], templates="a {}").embeddings
    wanted = engine.encode_text(["a {}", "a {0} %s"])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_an_ensemble_is_the_mean_of_unit_vectors(engine: CLIPEngine) -> None:
    found = engine.class_embeddings(CLASSES, templates=TEMPLATES).embeddings
    for name, ours in zip(CLASSES, found, strict=True):
        mean = engine.encode_text([form.replace("{}", name) for form in TEMPLATES]).mean(0)
        np.testing.assert_allclose(ours, mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    assert np.abs(found - engine.class_embeddings(CLASSES).embeddings).max() > 0.01


def test_templates_of_a_classification(engine: CLIPEngine) -> None:
    classes = engine.class_embeddings(CLASSES, templates=TEMPLATES)
    np.testing.assert_array_equal(
        engine.zero_shot_classification(IMAGES, CLASSES, templates=TEMPLATES),
        engine.zero_shot_classification(IMAGES, classes),
    )


def test_kept_embeddings_are_not_made_again(
    engine: CLIPEngine, kept: ClassEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = engine.zero_shot_classification(IMAGES, CLASSES)
    monkeypatch.setattr(engine, "encode_text", None)
    np.testing.assert_array_equal(engine.zero_shot_classification(IMAGES, kept), wanted)


def test_kept_embeddings_in_a_file(
    engine: CLIPEngine, kept: ClassEmbeddings, tmp_path: Path
) -> None:
    kept.save(tmp_path / "classes.parquet")
    again = ClassEmbeddings.load(tmp_path / "classes.parquet")
    assert (again.names, again.model) == (kept.names, kept.model)
    np.testing.assert_array_equal(again.embeddings, kept.embeddings)
    np.testing.assert_array_equal(
        engine.zero_shot_classification(IMAGES, again),
        engine.zero_shot_classification(IMAGES, kept),
    )
    assert [path.name for path in tmp_path.iterdir()] == ["classes.parquet"]


def test_any_reader_opens_the_file(kept: ClassEmbeddings, tmp_path: Path) -> None:
    kept.save(tmp_path / "classes.parquet")
    table = pq.read_table(tmp_path / "classes.parquet")
    assert table["name"].to_pylist() == CLASSES
    assert table["embedding"].type == pa.list_(pa.float32(), 24)


def test_embeddings_of_another_model_are_refused(
    kept: ClassEmbeddings, make_clip: CLIPFactory, tmp_path: Path
) -> None:
    other = CLIPEngine(convert(make_clip(seed=8), tmp_path / "m.parquet").path)
    with pytest.raises(
        InputError, match=f"of model {kept.model[:12]}, this is {other.fingerprint[:12]}"
    ):
        other.zero_shot_classification(IMAGES, kept)


def test_saving_where_nothing_can_be(kept: ClassEmbeddings, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        kept.save(tmp_path / "absent" / "classes.parquet")


def table_of(kept: ClassEmbeddings, **columns: pa.Array) -> pa.Table:
    """What `save` writes, with other columns."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(kept.embeddings.ravel()), 24)
    whole = {"name": pa.array(kept.names), "embedding": vectors, **columns}
    return pa.table(whole).replace_schema_metadata({b"llm_compression.model": kept.model.encode()})


def test_the_file_that_others_are_changed_from_loads(kept: ClassEmbeddings, tmp_path: Path) -> None:
    pq.write_table(table_of(kept), tmp_path / "x.parquet")
    assert ClassEmbeddings.load(tmp_path / "x.parquet").names == kept.names


ROWS = [[1.0] * 24] * 3
BROKEN = {
    "a null row": {"embedding": pa.array([None, *ROWS[1:]], pa.list_(pa.float32(), 24))},
    "a null value": {"embedding": pa.array([[None] * 24, *ROWS[1:]], pa.list_(pa.float32(), 24))},
    "no fixed width": {"embedding": pa.array(ROWS)},
    "texts": {"embedding": pa.array([["a"] * 24] * 3, pa.list_(pa.string(), 24))},
    "no vectors": {"embedding": pa.array([1.0, 2.0, 3.0])},
    "a null name": {"name": pa.array(["cat", None, "dog"])},
    "names that are numbers": {"name": pa.array([1, 2, 3])},
    "a name twice": {"name": pa.array(["cat", "dog", "cat"])},
    "NaN": {"embedding": pa.array([[float("nan")] * 24, *ROWS[1:]], pa.list_(pa.float32(), 24))},
}


@pytest.mark.parametrize("columns", BROKEN.values(), ids=BROKEN)
def test_files_that_hold_no_class_embeddings(
    columns: dict[str, pa.Array], kept: ClassEmbeddings, tmp_path: Path
) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(table_of(kept, **columns), path)
    with pytest.raises(InputError, match=r"x\.parquet holds no class embeddings"):
        ClassEmbeddings.load(path)


@pytest.mark.parametrize("metadata", [None, {}, {b"llm_compression.model": b"\xff\xfe"}])
def test_files_without_a_model(
    metadata: dict[bytes, bytes] | None, kept: ClassEmbeddings, tmp_path: Path
) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(table_of(kept).replace_schema_metadata(metadata), path)
    with pytest.raises(InputError, match=r"x\.parquet holds no class embeddings"):
        ClassEmbeddings.load(path)


def test_files_that_are_none(tiny_clip_table: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no Parquet")
    for path in (tmp_path / "absent", tmp_path / "text", tmp_path, tiny_clip_table):
        with pytest.raises(InputError, match="holds no class embeddings"):
            ClassEmbeddings.load(path)


def test_wide_floats_in_a_file_are_the_same_embeddings(
    engine: CLIPEngine, kept: ClassEmbeddings, tmp_path: Path
) -> None:
    wide = kept.embeddings.astype(np.float64).ravel()
    column = pa.FixedSizeListArray.from_arrays(pa.array(wide), 24)
    pq.write_table(table_of(kept, embedding=column), tmp_path / "x.parquet")
    again = ClassEmbeddings.load(tmp_path / "x.parquet")
    np.testing.assert_array_equal(
        engine.zero_shot_classification(IMAGES, again),
        engine.zero_shot_classification(IMAGES, kept),
    )


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "class_texts is empty"),
        ((), "class_texts is empty"),
        ("cat", "class_texts is"),
        (["cat", "dog", "cat"], "class 'cat' is named twice"),
        (["cat", 3], "class 1 is 3"),
        (["cat", None], "class 1 is None"),
        (["", "cat"], "class 0 is ''"),
        (["cat", " \t"], "class 1 is"),
        (None, "class_texts is"),
        (5, "class_texts is"),
        ({"cat"}, "class_texts is {'cat'}"),
        ({"cat": 1}, "class_texts is"),
        (b"cat", "class_texts is"),
    ],
)
def test_classes_that_cannot_be(classes: object, message: str, engine: CLIPEngine) -> None:
    with pytest.raises(InputError) as caught:
        engine.zero_shot_classification(IMAGES, classes)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ([], "templates is empty"),
        ("a photo", "template 'a photo' needs one {}"),
        (["a {}", "a photo"], "template 'a photo' needs one {}"),
        ("{} and {}", "template '{} and {}' needs one {}"),
        ("a {0}", "template 'a {0}' needs one {}"),
        (["a {}", 3], "template 3 needs one {}"),
        (None, "templates is"),
        (5, "templates is"),
        ({"a {}"}, "templates is {'a {}'}"),
        ({"a {}": 1}, "templates is"),
    ],
)
def test_templates_that_cannot_be(templates: object, message: str, engine: CLIPEngine) -> None:
    with pytest.raises(InputError) as caught:
        engine.class_embeddings(CLASSES, templates=templates)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


def test_kept_embeddings_of_another_width(engine: CLIPEngine, kept: ClassEmbeddings) -> None:
    cut = replace(kept, embeddings=np.ascontiguousarray(kept.embeddings[:, :20]))
    with pytest.raises(InputError, match="width 20"):
        engine.zero_shot_classification(IMAGES, cut)
