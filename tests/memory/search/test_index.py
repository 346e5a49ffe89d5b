"""Approximate search: in step with the rows, never wrong, and never without a remedy."""

import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from llm_compression.errors import MissingDependencyError, OutputError
from llm_compression.memory.search import index, part, searcher
from llm_compression.memory.search.sidecar import SidecarWarning
from llm_compression.memory.storage.dataset import SIDECARS
from llm_compression.memory.vector_reader import VectorReader
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.search.reference import clustered, names, recall, same, scores_of, store, stored

N, D = 4000, 32
VECTORS, QUERIES = np.split(clustered(N + 40, D, clusters=8), [N])
SCORES = scores_of(QUERIES, VECTORS)


@pytest.fixture(autouse=True)
def small_fragments_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "LEAST_ROWS", 1000)
    # Rows that several threads add at one moment do not see each other, which tells in a graph of
    # so few: one in a hundred finds less than 0.95.
    monkeypatch.setattr(searcher, "build_index", partial(index.build_index, threads=1))


@pytest.fixture
def storage(tmp_path: Path) -> VectorStorage:
    """Two files of 2,000 rows, each with an index."""
    made = stored(tmp_path, VECTORS, fragments=2)
    assert made.build_index("text", show_progress=False) == 2
    return made


def search(storage: VectorReader, queries: np.ndarray = QUERIES, **options):
    return storage.search(queries, method="approximate", **options)


def files(storage: VectorReader) -> list[Path]:
    return sorted((storage.path / "text" / SIDECARS).glob("*.usearch-*"))


def no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a comparison with every row fail."""

    def scan(*_: object) -> None:
        raise AssertionError("the index was not asked")

    monkeypatch.setattr(part.Part, "propose", scan)


def test_finds_nearly_all_with_exact_scores(
    storage: VectorStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_scan(monkeypatch)
    found = search(storage)
    assert recall(found, SCORES) >= 0.95
    for matches, exact in zip(found, SCORES, strict=True):
        assert [m.score for m in matches] == pytest.approx(
            [exact[int(m.embedding_id.removeprefix("row "))] for m in matches], abs=1e-6
        )


def test_finds_all_but_what_no_walk_reaches_where_candidates_are_all_rows(
    storage: VectorStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_scan(monkeypatch)
    assert recall(search(storage, oversample=N), SCORES) >= 0.98


def test_the_longest_and_shortest_vectors_hide_no_others(tmp_path: Path) -> None:
    vectors = VECTORS.copy()
    vectors[::40] *= np.float32(1e-22)
    vectors[1::80] *= np.float32(1e20)
    made = stored(tmp_path, vectors)
    made.build_index("text", show_progress=False)
    assert recall(search(made), SCORES) >= 0.95


def test_new_rows_are_found_at_once(storage: VectorStorage) -> None:
    store(storage, QUERIES, start=N)
    for i, matches in enumerate(search(storage)):
        assert matches[0].embedding_id == f"row {N + i}"


def test_deleted_rows_are_never_found(storage: VectorStorage) -> None:
    best = {m.embedding_id for matches in search(storage) for m in matches}
    storage.delete("text", sorted(best))
    live = [i for i in range(N) if f"row {i}" not in best]
    found, ids = search(storage), [f"row {i}" for i in live]
    assert not {m.embedding_id for matches in found for m in matches} & best
    wanted = np.argsort(-SCORES[:, live], axis=1)[:, :10]
    hits = [len({m.embedding_id for m in ms} & {ids[i] for i in row})
            for ms, row in zip(found, wanted, strict=True)]  # fmt: skip
    assert sum(hits) >= 0.95 * wanted.size


def test_a_changed_row_is_found_by_its_new_vector(storage: VectorStorage) -> None:
    storage.update("text", "row 0", embedding=QUERIES[0])
    assert search(storage, QUERIES[0])[0].embedding_id == "row 0"
    far = -QUERIES[0]
    assert "row 0" not in {m.embedding_id for m in search(storage, far, top_k=100)}


def test_compaction_makes_a_new_one(
    storage: VectorStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(storage)
    storage.delete("text", names(500))
    storage.compact("text")
    (made,) = files(storage)
    assert made not in before
    no_scan(monkeypatch)
    assert recall(search(storage), np.hstack((SCORES[:, :500] - 9, SCORES[:, 500:]))) >= 0.95


def test_automatic_compaction_makes_one(tmp_path: Path) -> None:
    storage = VectorStorage(tmp_path)
    assert storage.build_index("text") == 0
    store(storage, VECTORS, fragments=9)
    assert files(storage)
    assert recall(search(storage), SCORES) >= 0.95


ALLOWED = {
    "few": np.arange(N) % 50 == 0,
    "many": np.arange(N) % 9 != 0,
    "those unlike the query": SCORES[0] < np.quantile(SCORES[0], 0.6),
    "of one file": np.arange(N) < 1500,
    "one": np.arange(N) == 5,
    "none": np.arange(N) < 0,
}


@pytest.mark.parametrize("which", ALLOWED)
def test_only_rows_that_the_filter_leaves(tmp_path: Path, which: str) -> None:
    allowed = np.flatnonzero(ALLOWED[which])
    storage = stored(tmp_path, VECTORS, fragments=2)
    storage.build_index("text", show_progress=False)
    ids = [f"row {i}" for i in allowed]
    found = search(storage, QUERIES[:8], embedding_ids=ids)
    wanted = np.argsort(-SCORES[:8, allowed], axis=1)[:, :10]
    for matches, row in zip(found, wanted, strict=True):
        assert len(matches) == min(10, len(allowed))
        assert {m.embedding_id for m in matches} <= set(ids)
        assert len({m.embedding_id for m in matches} & {ids[i] for i in row}) >= 0.8 * len(row)


def test_the_least_that_gets_one_built_by_every_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # of `small_fragments_get_one`
    rows = index.LEAST_ROWS
    vectors, queries = np.split(clustered(rows + 40, D, clusters=8), [rows])
    storage = stored(tmp_path, vectors)
    assert storage.build_index("text", show_progress=False) == 1
    no_scan(monkeypatch)
    assert recall(search(storage, queries), scores_of(queries, vectors)) >= 0.95


@pytest.mark.parametrize(("length", "noise"), [(1, 0), (1, 1e-7), (0, 0)])
def test_half_of_all_alike_does_not_hide_the_rest(
    tmp_path: Path, length: float, noise: float
) -> None:
    vectors = VECTORS.copy()
    vectors[::2] = length * vectors[0] + noise * np.random.default_rng(0).normal(size=(N // 2, D))
    storage = stored(tmp_path, vectors)
    assert storage.build_index("text") == 1
    found = [[m.score for m in matches] for matches in search(storage)]
    wanted = -np.sort(-scores_of(QUERIES, vectors), axis=1)[:, :10]
    assert np.isclose(found, wanted, atol=1e-6).mean() >= 0.95


def test_equal_rows_are_all_found(storage: VectorStorage) -> None:
    store(storage, np.repeat(VECTORS[:10], 100, axis=0), start=N)
    storage.compact("text")
    matches = search(storage, VECTORS[3], top_k=101)
    assert {m.embedding_id for m in matches} == {"row 3", *names(100, start=N + 300)}


@pytest.mark.parametrize("change", ["flipped", "cut", "empty", "removed"])
def test_without_an_intact_one_rows_are_compared_exactly(
    storage: VectorStorage, change: str
) -> None:
    for path in files(storage):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(
            {"flipped": bytes(content), "cut": content[:-64], "empty": b"", "removed": b""}[change]
        )
        if change == "removed":
            path.unlink()
    reader = VectorReader(storage.path)
    for matches, scores in zip(search(reader), SCORES, strict=True):
        same(matches, scores, 10)


def test_building_again_replaces_damaged_ones(storage: VectorStorage) -> None:
    path = files(storage)[0]
    path.write_bytes(path.read_bytes()[:-64])
    assert storage.build_index("text", show_progress=False) == 1
    assert storage.build_index("text", show_progress=False) == 0
    assert len(files(storage)) == 2


def test_one_that_usearch_cannot_read_is_not_used(
    storage: VectorStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another release, say: intact, and yet no index to this one."""
    library = index.usearch()
    for answer in (None, RuntimeError("unknown version")):

        def restore(*_: object, answer: object = answer, **__: object) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(library.Index, "restore", restore)
        for matches, scores in zip(search(VectorReader(storage.path)), SCORES, strict=True):
            same(matches, scores, 10)


def test_a_disk_that_is_full_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = stored(tmp_path, VECTORS)

    def full(*_: object) -> None:
        raise RuntimeError("Failed to write to file")

    monkeypatch.setattr(index.usearch().Index, "save", full)
    with pytest.raises(OutputError, match="free space"):
        storage.build_index("text")
    assert list((storage.path / "text" / SIDECARS).glob("*.tmp")) == []


def test_a_step_that_is_done_does_not_fail_for_want_of_an_index(
    storage: VectorStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usearch", None)
    storage.delete("text", names(500))
    with pytest.warns(SidecarWarning, match="pip install 'llm-compression"):
        storage.compact("text")
    assert storage.count("text") == N - 500


@pytest.mark.parametrize("indexed", [True, False])
def test_without_usearch_the_error_says_how_to_get_it(
    tmp_path: Path, indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = stored(tmp_path, VECTORS)
    if indexed:
        storage.build_index("text")
    monkeypatch.setitem(sys.modules, "usearch", None)
    for call in (lambda: search(storage), lambda: storage.build_index("text")):
        with pytest.raises(MissingDependencyError, match=r"pip install 'llm-compression\[ann\]'"):
            call()
    assert len(storage.search(QUERIES[0])) == 10


def test_threads_share_an_index(storage: VectorStorage) -> None:
    wanted, wrong = {k: search(storage, top_k=k) for k in (5, 40)}, []

    def work(k: int) -> None:
        wrong.extend(k for _ in range(4) if search(storage, top_k=k) != wanted[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in (5, 40) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


PROGRAM = """
import subprocess
import sys
import usearch.index
from llm_compression.memory.multimodal_storage import MultimodalStorage
storage = MultimodalStorage(sys.argv[1], auto_compact=False)
(match,) = storage.search([1.0, 0, 0], top_k=1)
assert str(match.timestamp.tzinfo) == "UTC"
storage.store_table("text", storage.query("text"), replace=True)
print(storage.count("text"))
"""


def test_usearch_may_be_imported_before_pyarrow(tmp_path: Path) -> None:
    """Each brings a C++ library, of which regular expressions are then the wrong ones."""
    stored(tmp_path, VECTORS[:5, :3])
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "5\n"
