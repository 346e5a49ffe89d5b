"""Search among some rows, and after rows were deleted, changed or stored by others."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from llm_compression.errors import DamagedStorageError, IdentityMismatchError, StorageError
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.snapshot import DamagedFragmentWarning
from llm_compression.memory.vector_reader import VectorReader
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.search.reference import clustered, random, same, scores_of, store, stored

METHODS = ["exact", "int8", "binary"]
N, D = 3000, 12
START = datetime(2024, 1, 1, tzinfo=timezone.utc)
VECTORS, QUERY = random(N, D), random(1, D, seed=1)[0]
SCORES = scores_of(QUERY, VECTORS)[0]
ROWS = np.arange(N)
COLORS = np.array(["red", "green", "blue"])[ROWS % 3]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> VectorStorage:
    """Rows of `clip`, a minute apart, a third of texts, of two names of one model's vectors."""
    made = VectorStorage(tmp_path_factory.mktemp("rows"), auto_compact=False)
    identity = VectorIdentity.declared("clip", "m", D, normalized=False, precision="float32")
    for rows in np.array_split(ROWS, 2):
        made.store(
            "clip", [f"row {i}" for i in rows], [f"file {i % 5}" for i in rows], VECTORS[rows],
            model="first" if rows[0] == 0 else "second", identity=identity,
            kinds=["text" if i % 3 == 0 else "image" for i in rows],
            metadata=[{"color": str(COLORS[i]), "at": {"page": int(i)}} for i in rows],
            timestamps=[START + timedelta(minutes=int(i)) for i in rows],
        )  # fmt: skip
    return made


SELECTIONS = [
    ({"embedding_ids": ["row 7", "row 2999", "none"]}, np.isin(ROWS, [7, 2999])),
    ({"embedding_ids": []}, ROWS < 0),
    ({"filter": {"$or": []}}, ROWS < 0),
    ({"filter": {"$not": {}}}, ROWS < 0),
    ({"filter": {"at": {"$exists": True}}}, ROWS >= 0),
    ({"kind": "text"}, ROWS % 3 == 0),
    ({"model": "second"}, ROWS >= N // 2),
    ({"model": "m"}, ROWS >= 0),
    ({"model": "other"}, ROWS < 0),
    ({"since": START + timedelta(minutes=2500)}, ROWS >= 2500),
    ({"until": START + timedelta(minutes=10)}, ROWS <= 10),
    (
        {"since": START + timedelta(minutes=9), "until": START + timedelta(minutes=2000)},
        (ROWS >= 9) & (ROWS <= 2000),
    ),
    ({"filter": {"color": "red"}}, COLORS == "red"),
    ({"filter": {"color": "red", "at.page": {"$gte": 2990}}}, (COLORS == "red") & (ROWS >= 2990)),
    ({"filter": {"source_id": {"$ne": "file 3"}}}, ROWS % 5 != 3),
    ({"filter": {"$or": [{"color": "blue"}, {"embedding_id": "row 0"}]}},
     (COLORS == "blue") | (ROWS == 0)),
    ({"filter": {"color": "red"}, "kind": "image"}, ROWS < 0),
    ({"filter": {}}, ROWS >= 0),
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("options", "allowed"), SELECTIONS, ids=[str(s) for s, _ in SELECTIONS])
def test_only_rows_that_meet_the_conditions(
    storage: VectorStorage, options, allowed: np.ndarray, method: str
) -> None:
    more = {} if method == "exact" else {"oversample": N}
    found = storage.search(QUERY, "clip", 8, method=method, **options, **more)
    same(found, SCORES[allowed], 8, ids=[f"row {i}" for i in ROWS[allowed]])


def test_a_match_has_what_was_stored(storage: VectorStorage) -> None:
    (match,) = storage.search(QUERY, "clip", embedding_ids=["row 7"])
    assert (match.source, match.modality, match.model) == ("file 2", "image", "first")
    assert match.timestamp == START + timedelta(minutes=7)
    assert match.metadata == {"color": "green", "at": {"page": 7}}
    assert match.duration_seconds is None


@pytest.mark.parametrize("method", METHODS)
def test_rows_come_and_go_between_searches(tmp_path: Path, method: str) -> None:
    vectors = clustered(5000, 16)
    storage = stored(tmp_path, vectors[:4000], fragments=2)
    options = {"method": method} if method == "exact" else {"method": method, "oversample": 10**6}
    query = vectors[3]

    def check(live: np.ndarray) -> None:
        found = storage.search(query, top_k=20, **options)
        same(found, scores_of(query, vectors[live])[0], 20, ids=[f"row {i}" for i in live])

    check(np.arange(4000))
    storage.delete("text", [f"row {i}" for i in range(0, 4000, 3)])
    check(np.flatnonzero(np.arange(4000) % 3 != 0))
    store(storage, vectors[4000:], start=4000)
    live = np.flatnonzero((np.arange(5000) % 3 != 0) | (np.arange(5000) >= 4000))
    check(live)
    storage.compact("text")
    check(live)


def test_a_changed_row_is_found_by_its_new_vector(tmp_path: Path) -> None:
    storage = stored(tmp_path, random(3000, 8))
    far = -random(3000, 8)[17]
    assert storage.search(far, top_k=1)[0].embedding_id != "row 17"
    storage.update("text", "row 17", embedding=far, metadata={"new": True})
    (match,) = storage.search(far, top_k=1)
    assert (match.embedding_id, match.metadata) == ("row 17", {"new": True})
    assert len(storage.search(far, top_k=4000)) == 3000


def test_what_another_object_stored_is_found_at_once(tmp_path: Path) -> None:
    reader = VectorReader(tmp_path)
    assert reader.search([1.0, 0]) == []
    writer = VectorStorage(tmp_path)
    writer.store("text", ["a"], ["a"], [[1.0, 0]])
    assert [m.embedding_id for m in reader.search([1.0, 0])] == ["a"]
    writer.store("text", ["b"], ["b"], [[0.0, 1]])
    writer.delete("text", ["a"])
    assert [m.embedding_id for m in reader.search([1.0, 0])] == ["b"]


def test_vectors_of_several_models_are_kept_apart(tmp_path: Path) -> None:
    storage = VectorStorage(tmp_path, several_models=True)
    kinds = [
        VectorIdentity.declared("text", name, 4, normalized=False, precision="float32")
        for name in ("one", "two")
    ]
    storage.store("text", ["a"], ["a"], [[1.0, 0, 0, 0]], identity=kinds[0])
    storage.store("text", ["b"], ["b"], [[1.0, 0, 0, 0]], identity=kinds[1])
    storage.store("text", ["c"], ["c"], [[1.0, 0]], model="three")
    query = [1.0, 0, 0, 0]
    assert [m.embedding_id for m in storage.search(query, identity=kinds[1])] == ["b"]
    with pytest.raises(StorageError, match=r"one \(4 wide\), two .*, three \(2 wide\).*identity="):
        storage.search(query)
    other = VectorIdentity.declared("text", "four", 4, normalized=False, precision="float32")
    with pytest.raises(IdentityMismatchError, match="model is 'one' there, 'four' here"):
        storage.search(query, identity=other)


def test_a_blank_texts_vector_may_be_stored_first(tmp_path: Path) -> None:
    """It is zero, which tells nothing of the length of those to come."""
    storage = VectorStorage(tmp_path)
    for i, vector in enumerate(([0.0, 0], [3.0, 4], [1.0, 0], [0.0, 0])):
        storage.store("text", [str(i)], [str(i)], [vector])
    assert [m.embedding_id for m in storage.search([3.0, 4])] == ["1", "2", "0", "3"]
    unit = VectorStorage(tmp_path / "unit")
    for i, vector in enumerate(([1.0, 0], [0.0, 0])):
        unit.store("text", [str(i)], [str(i)], [vector])
    with pytest.raises(IdentityMismatchError, match="normalized is True there, False here"):
        unit.store("text", ["2"], ["2"], [[3.0, 4]])


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(bytes(content))


def test_a_damaged_file_stops_a_search_or_is_left_out_with_a_warning(tmp_path: Path) -> None:
    vectors = random(100, 6)
    storage = stored(tmp_path, vectors, fragments=2)
    damage(storage.dataset("text").snapshot().fragments[0].path)
    with pytest.raises(DamagedStorageError, match="restore it from a backup"):
        storage.search(vectors[0])
    skipping = VectorReader(tmp_path, on_damage="skip")
    with pytest.warns(DamagedFragmentWarning, match="is damaged"):
        found = skipping.search(vectors[0], top_k=100)
    same(
        found, scores_of(vectors[0], vectors[50:])[0], 50, ids=[f"row {i}" for i in range(50, 100)]
    )
