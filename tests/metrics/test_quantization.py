"""Embeddings in fewer bits, against sentence-transformers' own function."""

from pathlib import Path

import numpy as np
import pytest

from llm_compression.errors import InputError, OutputError
from llm_compression.metrics.quantization import EmbeddingRanges, quantize

RNG = np.random.default_rng(0)
EMBEDDINGS = RNG.normal(size=(300, 20)).astype(np.float32)
RANGES = EmbeddingRanges.of(EMBEDDINGS[:200], "model")


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_equals_sentence_transformers(precision: str) -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    both = np.stack([RANGES.low, RANGES.high])
    wanted = quantize_embeddings(EMBEDDINGS, precision=precision, ranges=both)  # type: ignore[arg-type]
    got = quantize(EMBEDDINGS, precision, RANGES)
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got, wanted)


def test_values_beyond_the_ranges_are_clipped() -> None:
    beyond = np.stack([RANGES.low - 5, RANGES.high + 5])
    assert set(np.unique(quantize(beyond, "uint8", RANGES)).tolist()) == {0, 255}
    assert set(np.unique(quantize(beyond, "int8", RANGES)).tolist()) == {-128, 127}


def test_ranges_survive_a_file(tmp_path: Path) -> None:
    RANGES.save(tmp_path / "ranges.json")
    read = EmbeddingRanges.load(tmp_path / "ranges.json")
    np.testing.assert_array_equal(read.low, RANGES.low)
    np.testing.assert_array_equal(read.high, RANGES.high)
    assert read.model == "model"


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"model":"m","low":[1],"high":[0]}'])
def test_a_file_without_ranges_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "ranges.json").write_text(content)
    with pytest.raises(InputError, match=r"ranges\.json does not hold"):
        EmbeddingRanges.load(tmp_path / "ranges.json")


def test_one_embedding_spans_no_range() -> None:
    with pytest.raises(InputError, match="at least two"):
        EmbeddingRanges.of(EMBEDDINGS[:1], "model")


def test_ranges_of_another_width_and_unknown_precisions_are_refused() -> None:
    with pytest.raises(InputError, match="width 20 for embeddings of width 8"):
        quantize(EMBEDDINGS[:, :8], "int8", RANGES)
    with pytest.raises(InputError, match="one of float32, int8"):
        quantize(EMBEDDINGS, "int4", RANGES)


def test_ranges_are_equal_by_value(tmp_path: Path) -> None:
    RANGES.save(tmp_path / "ranges.json")
    again = EmbeddingRanges.load(tmp_path / "ranges.json")
    assert again == RANGES
    assert hash(again) == hash(RANGES)
    assert again != EmbeddingRanges.of(EMBEDDINGS, "model")
    assert again != EmbeddingRanges.of(EMBEDDINGS[:200], "another model")


def test_ranges_of_quantised_embeddings_are_refused() -> None:
    with pytest.raises(InputError, match="float32 embeddings, not int8"):
        EmbeddingRanges.of(quantize(EMBEDDINGS, "int8", RANGES), "model")


def test_ranges_that_cannot_be_written_leave_the_old_ones(tmp_path: Path) -> None:
    RANGES.save(tmp_path / "ranges.json")
    with pytest.raises(OutputError, match=r"cannot write .*absent"):
        RANGES.save(tmp_path / "absent" / "ranges.json")
    assert [path.name for path in tmp_path.iterdir()] == ["ranges.json"]


def test_ranges_say_whether_the_embeddings_were_of_unit_length(tmp_path: Path) -> None:
    raw = EmbeddingRanges.of(EMBEDDINGS[:200], "model", normalized=False)
    assert raw != RANGES
    raw.save(tmp_path / "ranges.json")
    assert EmbeddingRanges.load(tmp_path / "ranges.json").normalized is False
