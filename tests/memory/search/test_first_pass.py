"""Int8 and binary search: a first pass in few bits that finds nearly all, then exact scores."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llm_compression.errors import InputError
from llm_compression.memory.search import kernels
from llm_compression.memory.search.twin import sign_bits
from llm_compression.memory.storage.layout import to_int8
from tests.memory.search.reference import (
    TOLERANCE,
    clustered,
    names,
    random,
    recall,
    same,
    scores_of,
    stored,
)

METHODS = ["int8", "binary"]
VECTORS, QUERIES = np.split(clustered(6040, 128), [6000])


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory):
    return stored(tmp_path_factory.mktemp("clustered"), VECTORS, fragments=3)


@pytest.mark.parametrize("method", METHODS)
def test_finds_nearly_all_with_exact_scores(storage, method: str) -> None:
    found, scores = storage.search(QUERIES, method=method), scores_of(QUERIES, VECTORS)
    assert recall(found, scores) >= 0.99
    for matches, exact in zip(found, scores, strict=True):
        for match in matches:
            wanted = exact[int(match.embedding_id.removeprefix("row "))]
            assert match.score == pytest.approx(wanted, abs=TOLERANCE)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("method", METHODS)
def test_is_exact_where_candidates_are_all_rows(tmp_path: Path, method: str, metric: str) -> None:
    vectors, queries = random(500, 24), random(3, 24, seed=1)
    vectors[7] = 0
    storage = stored(tmp_path, vectors, fragments=2)
    found = storage.search(queries, top_k=5, method=method, metric=metric, oversample=100)
    for matches, scores in zip(found, scores_of(queries, vectors, metric), strict=True):
        same(matches, scores, 5)


def test_more_candidates_find_more(storage) -> None:
    scores = scores_of(QUERIES, VECTORS)
    by = {n: recall(storage.search(QUERIES, method="binary", oversample=n), scores) for n in (1, 8)}
    assert by[1] < by[8]


@pytest.mark.parametrize("method", METHODS)
def test_vectors_of_any_length_are_found_by_their_cosine(tmp_path: Path, method: str) -> None:
    lengths = np.random.default_rng(2).uniform(0.01, 30, (6000, 1)).astype(np.float32)
    storage = stored(tmp_path, VECTORS * lengths, fragments=2)
    assert recall(storage.search(QUERIES, method=method), scores_of(QUERIES, VECTORS)) >= 0.99


def test_one_file_whose_filter_leaves_few_does_not_crowd_out_the_rest(storage) -> None:
    """Candidates of all files are compared on one scale: 250 rows of one do not take all places."""
    allowed = [*range(0, 2000, 8), *range(2000, 6000)]
    ids, scores = [f"row {i}" for i in allowed], scores_of(QUERIES, VECTORS)
    scores[:, sorted(set(range(6000)) - set(allowed))] = -1
    for method in METHODS:
        found = storage.search(QUERIES, method=method, oversample=25, embedding_ids=ids)
        assert recall(found, scores) >= 0.9


@pytest.mark.parametrize("broken", ["missing", "wrong", "refused"])
def test_int8_without_the_operator_gives_the_same(
    storage, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    wanted = storage.search(QUERIES, method="int8")
    product = torch._int_mm

    def refused(*_: object) -> None:
        raise RuntimeError("not implemented for 'Char'")

    if broken == "missing":
        monkeypatch.delattr(torch, "_int_mm")
    else:
        wrong = refused if broken == "refused" else lambda a, b: product(a, b) + 1
        monkeypatch.setattr(torch, "_int_mm", wrong)
    kernels.int8_product.cache_clear()
    try:
        assert kernels.int8_product() is kernels._plain_product
        assert storage.search(QUERIES, method="int8") == wanted
    finally:
        kernels.int8_product.cache_clear()


def test_products_of_int8_are_whole_and_right() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (50, 384)).astype(np.uint8)
    levels = rng.integers(-127, 128, (3, 384)).astype(np.int8)
    wanted = codes.astype(np.int64) @ levels.astype(np.int64).T
    for product in (kernels.int8_product(), kernels._plain_product):
        np.testing.assert_array_equal(product(codes, levels), wanted)
    assert kernels.int8_product() is kernels._torch_product  # else this release lost its speed


def test_vectors_too_wide_for_sums_of_int8_are_refused(tmp_path) -> None:
    most = np.full((1, kernels.WIDEST), 127, np.int8)
    codes = np.full((20, kernels.WIDEST), 255, np.uint8)
    assert set(kernels._torch_product(codes, most).ravel()) == {255 * 127 * kernels.WIDEST}
    wide = stored(tmp_path, np.ones((3, kernels.WIDEST + 1), np.float32))
    query = np.ones(kernels.WIDEST + 1, np.float32)
    with pytest.raises(InputError, match="adds up 66311 values at most, the vectors are 66312"):
        wide.search(query, method="int8")
    assert len(wide.search(query, method="binary")) == 3


def test_int8_scores_are_near() -> None:
    vectors, queries = random(200, 64), random(4, 64, seed=1)
    codes, scales = to_int8(vectors)
    unsigned = (codes.astype(int) + kernels.OFFSET).astype(np.uint8)
    found = kernels.int8_scores(queries, unsigned, scales)
    wanted = scores_of(queries, vectors, "dot")
    found = found * (np.abs(queries).max(axis=1, keepdims=True) / 127)  # a query's own unit
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
    assert np.abs((found - wanted) / lengths).max() < 0.02


@pytest.mark.parametrize("width", [1, 7, 64, 65, 200])
@pytest.mark.parametrize("old_numpy", [False, True])
def test_bit_scores_count_differing_signs(
    width: int, old_numpy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old_numpy:
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    monkeypatch.setattr(kernels, "_BITS", 30)
    vectors, queries = random(100, width), random(3, width, seed=1)
    wanted = -((queries > 0)[:, None] != (vectors > 0)[None]).sum(axis=2)
    found = kernels.bit_scores(sign_bits(queries), sign_bits(vectors))
    np.testing.assert_array_equal(found, wanted)


def test_more_matches_than_rows(storage) -> None:
    for method in METHODS:
        (found,) = storage.search(QUERIES[:1], top_k=7000, method=method)
        assert sorted(m.embedding_id for m in found) == sorted(names(6000))


PROGRAM = """
import sys
import numpy as np
from llm_compression.memory.multimodal_storage import MultimodalStorage
storage = MultimodalStorage(sys.argv[1])
assert len(storage.search(np.ones(128), method="exact")) == 10
assert len(storage.search(np.ones((2, 128)), method="binary")) == 2
print(sorted({"torch", "PIL", "librosa", "transformers", "usearch"} & set(sys.modules)))
"""


def test_exact_and_binary_search_load_neither_torch_nor_pillow_nor_librosa(storage) -> None:
    command = [sys.executable, "-c", PROGRAM, str(storage.path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output == "[]\n"
