"""The decisions rest on stored runs, and these on vectors that anyone can make again."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import readme
from benchmarks.captions import Captions
from benchmarks.columns import BINARY, LISTS, Column
from benchmarks.machine import ROOT
from benchmarks.results import FOLDER
from benchmarks.store_kinds import KINDS, OWN, rows_table

DOCUMENTS = {
    "decisions/0001-storage.md": "stores",
    "decisions/0002-vector-layout.md": "vector_layout",
    "decisions/0003-approximate-index.md": "ann",
    "performance.md": "runtimes",
    "search.md": "memory",
}


@pytest.fixture
def source() -> Captions:
    unit = np.eye(8, dtype=np.float32)
    return Captions(drawn=unit, queries=unit[:2])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_document_shows_the_stored_run(document: str) -> None:
    page = ROOT / "docs" / document
    results = FOLDER / f"{DOCUMENTS[document]}.json"
    assert readme.main(["--check", "--readme", str(page), "--results", str(results)]) == 0


@pytest.mark.parametrize(
    ("page", "run"), [("README.md", "runtimes"), ("docs/performance.md", "runtimes_avx512")]
)
def test_page_sums_up_the_stored_comparison(page: str, run: str) -> None:
    results = ["--results", str(FOLDER / f"{run}.json"), "--readme", str(ROOT / page)]
    assert readme.main(["--check", "--block", readme.SUMMARY, *results]) == 0


def test_fewer_vectors_are_the_first_of_more(source: Captions) -> None:
    more = source.vectors(20_000)
    assert np.array_equal(source.vectors(17_000), more[:17_000])
    assert not np.array_equal(source.vectors(10, seed=1), more[:10])


def test_vectors_have_unit_length(source: Captions) -> None:
    assert np.allclose(np.linalg.norm(source.vectors(1000), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("column", [*LISTS, BINARY], ids=lambda column: column.name)
def test_views_of_a_column_are_its_rows(column: Column) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    (view,) = column.views(column.table(rows).slice(1))
    assert np.array_equal(view, rows[1:])


def test_our_store_gives_back_what_it_was_given(tmp_path: Path) -> None:
    rows = np.arange(1, 49, dtype=np.float32).reshape(12, 4)
    for number in range(12):
        KINDS[OWN](tmp_path).append(rows_table(number, rows[number : number + 1]))
    store = KINDS[OWN](tmp_path)
    store.compact()
    store.delete(3)
    assert store.count() == 11
    assert store.get(7).tolist() == rows[7].tolist()
    assert np.array_equal(np.stack(store.read()["embedding"].to_pylist()), np.delete(rows, 3, 0))
