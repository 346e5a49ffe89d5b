"""What `ArrowEngine.encode` promises, on a tiny model."""

from pathlib import Path

import numpy as np
import pytest

from llm_compression import ArrowEngine, EmbeddingRanges, convert
from llm_compression.errors import InputError
from tests.conftest import CheckpointFactory

TEXTS = ["the cat sits", "a dog runs on the mat . the dog sits", "red", "", "blue park , un ##able"]


@pytest.fixture(scope="module")
def engine(tiny_table: Path) -> ArrowEngine:
    return ArrowEngine(tiny_table, mapped=False)


def test_shapes_and_types(engine: ArrowEngine) -> None:
    many, one = engine.encode(TEXTS), engine.encode(TEXTS[0])
    assert many.shape == (5, 32)
    assert one.shape == (32,)
    assert many.dtype == one.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)
    assert engine.encode([]).shape == (0, 32)
    assert engine.encode(()).dtype == np.float32
    assert engine.encode([TEXTS[0]]).shape == (1, 32)
    assert engine.get_embedding_dimension() == 32


def test_inputs_may_be_any_sequence_of_strings(engine: ArrowEngine) -> None:
    wanted = engine.encode(TEXTS)
    for given in (tuple(TEXTS), np.array(TEXTS), iter(TEXTS)):
        np.testing.assert_array_equal(engine.encode(given), wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_order_is_restored(engine: ArrowEngine, batch_size: int) -> None:
    alone = np.stack([engine.encode(text) for text in TEXTS])
    np.testing.assert_allclose(engine.encode(TEXTS, batch_size=batch_size), alone, atol=1e-6)


def test_the_keys_of_a_mapping_have_an_order(engine: ArrowEngine) -> None:
    found = engine.encode(dict.fromkeys(TEXTS).keys())  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, engine.encode(TEXTS))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "inputs is NoneType"),
        (5, "inputs is int"),
        (b"bytes", "inputs is bytes"),
        (np.array("zero axes"), "inputs is ndarray"),
        ({"text": "x"}, "inputs is dict"),
        ({"the cat", "red"}, "inputs is set"),  # in which order would its vectors be?
        (["fine", 7], "input 1 is int, not a string"),
        (["fine", None], "input 1 is NoneType"),
        (["fine", ["nested"]], "input 1 is list"),
        ("lone \ud800 surrogate", "input 0 holds a lone surrogate at character 5"),
    ],
)
def test_bad_inputs_are_named(engine: ArrowEngine, bad: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        engine.encode(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"normalize_embeddings": "no"}, "normalize_embeddings is 'no'; it must be True or False"),
        ({"show_progress_bar": "no"}, "show_progress_bar is 'no'; it must be True or False"),
        ({"truncate_dim": 0}, r"truncate_dim is 0; .* in 1\.\.32"),
        ({"truncate_dim": 33}, r"in 1\.\.32"),
        ({"truncate_dim": True}, "truncate_dim is True"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"prompt": 5}, "prompt is int"),
        ({"precision": "int8", "ranges": np.zeros((2, 32))}, "pass EmbeddingRanges"),
        ({"precision": "float16"}, "precision 'float16' is not one of"),
        ({"truncation": "maybe"}, "truncation 'maybe' is not one of warn, error, ok"),
        ({"prompt_name": "passage"}, "no prompt 'passage'; its prompts: none"),
    ],
)
def test_bad_options_are_named(
    engine: ArrowEngine, option: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        engine.encode(TEXTS, **option)  # type: ignore[arg-type]


def test_unknown_options_raise(engine: ArrowEngine) -> None:
    with pytest.raises(TypeError, match="normalise"):
        engine.encode(TEXTS, normalise=True)  # type: ignore[call-arg]


def test_normalisation_follows_the_model_unless_told(
    engine: ArrowEngine, make_checkpoint: CheckpointFactory, tmp_path: Path
) -> None:
    raw = ArrowEngine(convert(make_checkpoint(normalize=False), tmp_path / "raw.parquet").path)
    lengths = np.linalg.norm(raw.encode(TEXTS), axis=1)
    assert np.all(np.abs(lengths - 1) > 1e-3)
    np.testing.assert_allclose(
        raw.encode(TEXTS, normalize_embeddings=True), engine.encode(TEXTS), atol=1e-6
    )
    np.testing.assert_allclose(
        engine.encode(TEXTS, normalize_embeddings=False), raw.encode(TEXTS), atol=1e-6
    )


def test_truncate_dim_cuts_then_renormalises_what_was_unit(engine: ArrowEngine) -> None:
    full = engine.encode(TEXTS)
    cut = engine.encode(TEXTS, truncate_dim=8)
    assert cut.shape == (5, 8)
    wanted = full[:, :8] / np.linalg.norm(full[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, wanted, atol=1e-6)
    raw = engine.encode(TEXTS, truncate_dim=8, normalize_embeddings=False)
    np.testing.assert_array_equal(raw, engine.encode(TEXTS, normalize_embeddings=False)[:, :8])


def test_packed_and_scaled_outputs(engine: ArrowEngine) -> None:
    full = engine.encode(TEXTS)
    assert engine.encode(TEXTS, precision="ubinary").shape == (5, 4)
    assert engine.encode(TEXTS[0], precision="binary").shape == (4,)
    bits = np.unpackbits(engine.encode(TEXTS, precision="ubinary"), axis=1)
    np.testing.assert_array_equal(bits, full > 0)
    assert engine.encode(TEXTS, precision="int8").dtype == np.int8
    assert engine.encode([], precision="int8").shape == (0, 32)


def test_one_vector_in_int8_needs_ranges(engine: ArrowEngine) -> None:
    with pytest.raises(InputError, match="at least two embeddings"):
        engine.encode(TEXTS[0], precision="int8")
    ranges = engine.calibrate(TEXTS)
    alone = engine.encode(TEXTS[1], precision="uint8", ranges=ranges)
    together = engine.encode(TEXTS, precision="uint8", ranges=ranges)
    assert np.abs(alone.astype(int) - together[1].astype(int)).max() <= 1  # a value on an edge


def test_ranges_of_another_model_are_refused(engine: ArrowEngine) -> None:
    own = engine.calibrate(TEXTS)
    foreign = EmbeddingRanges(own.low, own.high, "0" * 64)
    with pytest.raises(InputError, match="the ranges are of model 000000000000"):
        engine.encode(TEXTS, precision="int8", ranges=foreign)


def test_similarity_takes_embeddings_and_names_the_other(engine: ArrowEngine) -> None:
    embeddings = engine.encode(TEXTS)
    scores = engine.similarity(embeddings, embeddings)
    np.testing.assert_allclose(np.diag(scores), 1, atol=1e-6)
    np.testing.assert_allclose(engine.similarity_pairwise(embeddings, embeddings), 1, atol=1e-6)
    np.testing.assert_allclose(engine.similarity_texts(TEXTS, TEXTS), scores, atol=1e-6)
    with pytest.raises(InputError, match="similarity_texts"):
        engine.similarity(TEXTS, TEXTS)  # type: ignore[arg-type]
    assert engine.similarity_fn_name == "cosine"


def test_progress_bar(engine: ArrowEngine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.encode(TEXTS, show_progress_bar=True)
    assert "embedding: 100%" in capsys.readouterr().err
    engine.encode(TEXTS)
    assert capsys.readouterr().err == ""
