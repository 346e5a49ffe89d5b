"""Exact search gives what brute force in float64 gives."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_compression.errors import IdentityMismatchError, InputError
from llm_compression.memory.by_modality import ByModality
from llm_compression.memory.search import kernels, part
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.search.reference import (
    clustered,
    random,
    same,
    scores_of,
    stored,
)

METRICS = ["cosine", "dot"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("width", [1, 7, 64, 384, 1000])
def test_vectors_of_any_length_and_width(tmp_path: Path, width: int, metric: str) -> None:
    vectors, queries = random(700, width), random(3, width, seed=1)
    if width == 1:  # all cosines are 1 or -1
        vectors, metric = np.unique(vectors, axis=0), "dot"
    storage = stored(tmp_path, vectors, fragments=3)
    wanted = scores_of(queries, vectors, metric)
    for one, scores in zip(queries, wanted, strict=True):
        same(storage.search(one, top_k=12, metric=metric), scores, 12)
    for found, scores in zip(storage.search(queries, top_k=12, metric=metric), wanted, strict=True):
        same(found, scores, 12)


@pytest.mark.parametrize("metric", METRICS)
def test_unit_vectors_in_clusters_over_many_blocks(
    tmp_path: Path, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_SCORES", 1)  # blocks of 1,024 rows
    vectors, queries = clustered(5000, 32), clustered(20, 32, seed=1)
    storage = stored(tmp_path, vectors, fragments=2)
    found = storage.search(queries, top_k=30, metric=metric)
    for matches, scores in zip(found, scores_of(queries, vectors, metric), strict=True):
        same(matches, scores, 30)
    (found,) = storage.search(queries[:1], top_k=5000)
    assert len(found) == 5000


def test_blocks_shrink_as_queries_grow() -> None:
    assert kernels.block_rows(1) == 1 << 17
    assert [kernels.block_rows(m) * m for m in (64, 512, 4096)] == [1 << 23] * 3


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_numbers_rows_and_cuts(data: st.DataObject) -> None:
    """Whole numbers, whose products are exact, make many ties and zero vectors."""
    width, n = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 40))
    seed, metric = data.draw(st.integers(0, 999)), data.draw(st.sampled_from(METRICS))
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (n, width)).astype(np.float32)
    query = rng.integers(-2, 3, width).astype(np.float32)
    query[0] = 1
    dead = set(rng.choice(n, data.draw(st.integers(0, n)), replace=False).tolist())
    with tempfile.TemporaryDirectory() as folder:
        storage = stored(Path(folder), vectors, fragments=min(n, 3))
        storage.delete("text", [f"row {i}" for i in dead])
        live = [i for i in range(n) if i not in dead]
        k = data.draw(st.integers(1, 50))
        found = storage.search(query, top_k=k, metric=metric)
    scores = scores_of(query, vectors[live], metric)[0].round(9)
    wanted = sorted(zip(-scores, live, strict=True))[:k]
    np.testing.assert_allclose([m.score for m in found], [-s for s, _ in wanted], atol=2e-6)
    if metric == "dot":
        assert [m.embedding_id for m in found] == [f"row {i}" for _, i in wanted]


def test_equal_scores_come_in_the_order_of_storing(tmp_path: Path) -> None:
    vectors = np.zeros((3000, 4), np.float32)
    vectors[:, 0] = 1
    vectors[::7, 0] = 2
    storage = stored(tmp_path, vectors, fragments=4)
    for k in (3, 200, 2999):
        same(storage.search([1.0, 0, 0, 0], top_k=k, metric="dot"), vectors[:, 0], k)


def test_more_than_there_are_gives_all(tmp_path: Path) -> None:
    vectors, query = random(50, 6), random(1, 6, seed=1)[0]
    storage = stored(tmp_path, vectors, fragments=2)
    for method in ("exact", "int8", "binary"):
        same(storage.search(query, top_k=10**9, method=method), scores_of(query, vectors)[0], 50)


def test_a_stored_zero_vector_scores_0(tmp_path: Path) -> None:
    vectors = random(20, 5)
    vectors[[3, 11]] = 0
    storage = stored(tmp_path, vectors)
    for metric in METRICS:
        found = {
            m.embedding_id: m.score for m in storage.search(vectors[0], "text", 20, metric=metric)
        }
        assert (found["row 3"], found["row 11"]) == (0, 0)


@pytest.mark.parametrize("scale", [1e-31, 1e-24, 1e24, 1e31])
@pytest.mark.parametrize("method", ["exact", "int8", "binary"])
def test_cosines_of_the_smallest_and_largest_numbers(
    tmp_path: Path, scale: float, method: str
) -> None:
    vectors, query = random(30, 8), random(1, 8, seed=1)[0]
    storage = stored(tmp_path, (vectors * scale).astype(np.float32))
    for asked in (query, query * np.float32(scale), query * np.float32(1e-37)):
        same(storage.search(asked, top_k=9, method=method), scores_of(query, vectors)[0], 9)


@pytest.mark.parametrize("scale", [1e-31, 1e-24, 1.0, 1e24, 1e31])
@pytest.mark.parametrize("method", ["exact", "int8", "binary"])
def test_products_of_the_smallest_and_largest_numbers(
    tmp_path: Path, scale: float, method: str
) -> None:
    """Also those beyond what float32 holds; none is lost, and a threshold leaves out the rest."""
    vectors, query = random(30, 8), random(1, 8, seed=1)[0]
    storage = stored(tmp_path, (vectors * scale).astype(np.float32))
    for size in (1e-37, 1.0, 1e37):
        asked = query * np.float32(size)
        products = scores_of(asked, vectors * scale, "dot")[0] / (scale * size)
        options = {"top_k": 30, "metric": "dot", "method": method}
        found = storage.search(asked, **options)
        assert len(found) == 30
        same([replace(m, score=m.score / (scale * size)) for m in found], products, 30)
        above = storage.search(asked, threshold=float(np.float64(scale * size)), **options)
        assert len(above) == (products >= 1).sum()


def test_a_prefix_too_short_to_compare_is_like_a_zero_vector(tmp_path: Path) -> None:
    vectors = np.array([[1e-45, 1e-45, 1], [1e-30, 1e-30, 1]], np.float32)
    found = stored(tmp_path, vectors).search(np.ones(3), dim=2)
    assert [m.score for m in found] == pytest.approx([1, 0])


def test_lengths_near_1_count(tmp_path: Path) -> None:
    query = np.array([1, 1], np.float32)
    vectors = np.array([[1, 0], [1 + 8e-6, 0]], np.float32)
    found = stored(tmp_path, vectors).search(query)
    assert [m.score for m in found] == pytest.approx([2**-0.5] * 2, abs=2e-7)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_vectors_stored_in_few_bits_are_compared_as_they_are_read(
    tmp_path: Path, dtype: str
) -> None:
    storage = stored(tmp_path, random(300, 24), fragments=2, dtype=dtype)
    table = storage.query("text")
    vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(300, 24)
    query = random(1, 24, seed=1)[0]
    same(storage.search(query, top_k=10), scores_of(query, vectors)[0], 10)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [1, 8, 63, 64])
def test_a_prefix_counts_alone(tmp_path: Path, dim: int, metric: str) -> None:
    vectors, query = random(200, 64), random(1, 64, seed=1)[0]
    vectors[5, :63] = 0
    storage = stored(tmp_path, vectors, fragments=2)
    wanted = scores_of(query[:dim], vectors[:, :dim], metric)[0]
    if (dim, metric) == (1, "cosine"):  # all are 1, 0 or -1
        assert {round(m.score, 6) for m in storage.search(query, dim=1, top_k=200)} == {1, 0, -1}
        return
    same(storage.search(query, dim=dim, top_k=9, metric=metric), wanted, 9)
    same(storage.search(query[:dim], dim=dim, top_k=9, metric=metric), wanted, 9)


def test_threshold_leaves_out_what_scores_less(tmp_path: Path) -> None:
    vectors, query = random(100, 3), random(1, 3, seed=1)[0]
    scores = scores_of(query, vectors)[0]
    found = stored(tmp_path, vectors).search(query, top_k=100, threshold=0.25)
    same(found, scores, int((scores >= 0.25).sum()))
    assert stored(tmp_path / "b", vectors).search(query, threshold=2) == []


def test_one_query_gives_a_list_many_give_lists(tmp_path: Path) -> None:
    storage = stored(tmp_path, random(5, 3))
    assert [len(matches) for matches in storage.search(random(2, 3, seed=1), top_k=4)] == [4, 4]
    assert [len(matches) for matches in storage.search(random(1, 3, seed=1), top_k=4)] == [4]
    assert len(storage.search(random(1, 3, seed=1)[0].astype(np.float64), top_k=4)) == 4
    assert storage.search(np.empty((0, 3), np.float32)) == []


def test_few_allowed_rows_are_found_in_blocks_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_SCORES", 1)
    monkeypatch.setattr(part, "_FEW", 2)
    vectors, queries = clustered(6000, 16), clustered(3, 16, seed=1)
    storage = stored(tmp_path, vectors)
    allowed = np.flatnonzero(np.random.default_rng(2).random(6000) < 0.45)
    assert len(allowed) > 2048
    ids = [f"row {i}" for i in allowed]
    found = storage.search(queries, top_k=40, embedding_ids=ids)
    for matches, scores in zip(found, scores_of(queries, vectors[allowed]), strict=True):
        same(matches, scores, 40, ids=ids)
    assert len(storage.search(queries[0], top_k=6000, embedding_ids=ids)) == len(ids)


def test_an_empty_storage_finds_nothing(tmp_path: Path) -> None:
    storage = VectorStorage(tmp_path / "none")
    assert storage.search([1.0, 2.0]) == []
    assert storage.search([[1.0, 2.0]] * 3, "clip") == [[], [], []]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": True}, "top_k is True"),
        ({"top_k": 2.0}, r"top_k is 2\.0"),
        ({"metric": "euclidean"}, "not one of cosine, dot"),
        ({"method": "fast"}, "not one of exact, int8, binary, approximate"),
        ({"modality": "video"}, "not one of text, vision, audio, clip"),
        ({"dim": 4}, "dim is 4, the vectors are 3 wide"),
        ({"dim": 2, "method": "int8"}, "dim goes with"),
        ({"oversample": 0, "method": "int8"}, "oversample is 0"),
        ({"oversample": 4}, "oversample goes with"),
        ({"metric": "dot", "method": "approximate"}, "cosines only"),
        ({"threshold": 10**400}, "threshold is an integer beyond every score"),
        ({"modality": ["text"]}, "not one of text, vision, audio, clip"),
        ({"identity": "m"}, "identity is 'm'; give a VectorIdentity"),
        ({"threshold": "0.5"}, "threshold is '0.5'"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"embedding_ids": "row 1"}, "list of strings"),
        ({"kind": "image"}, "made from text"),
        ({"since": "yesterday"}, "no datetime"),
        ({"filter": ["a"]}, "a filter is a dict"),
        ({"filter": {"a": {"$near": 1}}}, r"'\$near' of 'a'"),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_cannot_be_are_refused(tmp_path: Path, options, message: str) -> None:
    storage = stored(tmp_path, random(5, 3))
    with pytest.raises(InputError, match=message):
        storage.search([1.0, 0, 0], **options)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ([0.0, 0, 0], "zero vector"),
        ([np.nan, 0, 0], "NaN"),
        (["1", "2", "3"], r"a query is \(d,\) floats, several are \(m, d\), not <U1"),
        ("a cat", "a query is"),
        (None, "a query is .*, not object"),
        ([object()] * 3, "a query is"),
        ([[1.0, 2, 3], [1.0]], "differ in width"),
        ([[[1.0, 2, 3]]], "shape"),
        ([], r"a query is .*, not float64 of shape \(0,\)"),
    ],
    ids=str,
)
def test_queries_that_cannot_be_are_refused(tmp_path: Path, query: object, message: str) -> None:
    storage = stored(tmp_path, random(5, 3))
    with pytest.raises(InputError, match=message):
        storage.search(query)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float16, np.float64])
def test_a_query_of_other_numbers_is_taken_as_floats(tmp_path: Path, kind: type) -> None:
    vectors = random(5, 3)
    found = stored(tmp_path, vectors).search(np.array([1, 2, 3], kind))
    same(found, scores_of(np.array([1.0, 2, 3]), vectors)[0], 5)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64"])
def test_tensors_are_stored_and_sought(tmp_path: Path, kind: str) -> None:
    import torch

    made = torch.eye(3, dtype=getattr(torch, kind), requires_grad=True)
    storage = ByModality(tmp_path)
    storage.store("text", ["a", "b", "c"], ["x"] * 3, made)
    storage.update("text", "a", embedding=made[1])
    storage.store_text_embedding("d", "x", made[2])
    for asked in (made[2], made[2:], made[2].detach()):
        (found,) = np.reshape(storage.search(asked, top_k=1), -1)
        assert (found.embedding_id, found.score) == ("c", 1.0)
    for bad in ([made[0], made[1]], made[:, :0]):
        with pytest.raises(InputError):
            storage.store("text", ["e", "f"], ["x"] * 2, bad)


def test_a_query_of_another_width_names_both(tmp_path: Path) -> None:
    with pytest.raises(IdentityMismatchError, match="4 wide, the vectors there 3"):
        stored(tmp_path, random(5, 3)).search([1.0, 0, 0, 0])


def test_a_mistyped_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="topk"):
        stored(tmp_path, random(5, 3)).search([1.0, 0, 0], topk=3)
