"""Rows come back as they were stored, whatever their type, width, ids and metadata."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from llm_compression.errors import (
    IdentityMismatchError,
    InputError,
)
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage import dataset
from llm_compression.memory.storage.layout import to_int8
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.storage.steps import held, identity, put, store, vectors

ODD = ["a/b", "..", "\0", "é" * 5_000, "\n", "\U0001f600", " ", "%s{}", "a", "A", "a\u0301", "á"]
FLOATS = np.array([1 / 3, -0.0, 1e-45, 7e32, -7e32, 0.0, 65504, 6e-8], np.float32)


def bits(array: np.ndarray) -> bytes:
    return array.tobytes()


@pytest.mark.parametrize(("n", "width"), [(1, 1), (1, 4096), (37, 3), (5_000, 7)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_vectors_come_back_to_the_bit(dtype: str, n: int, width: int, tmp_path: Path):
    made = np.random.default_rng(0).standard_normal((n, width)).astype(np.float32)
    made.ravel()[: min(made.size, 6)] = FLOATS[: min(made.size, 6)] if dtype == "float32" else 0
    store(VectorStorage(tmp_path, dtype=dtype), made)
    found = vectors(VectorStorage(tmp_path).query("text")["embedding"])
    if dtype == "int8":
        levels, scales = to_int8(made)
        made = levels * scales[:, None]
    assert found.dtype == np.float32
    assert bits(found) == bits(made.astype(dtype if dtype == "float16" else "float32").astype("f4"))


def test_int8_is_near_and_never_wraps():
    made = np.array([[1, -1, 0.5], [0, 0, 0], [3.4e38, 1, -3.4e38], [2.66e-43, -2.66e-43, 0]], "f4")
    levels, scales = to_int8(made)
    assert np.array_equal(np.sign(levels), [[1, -1, 1], [0, 0, 0], [1, 0, -1], [1, -1, 0]])
    assert np.abs(made[:3] - levels[:3] * scales[:3, None]).max() <= scales.max() / 2


def test_a_batch_larger_than_a_fragment_is_one_step(tmp_path: Path):
    n = 140_000
    storage = VectorStorage(tmp_path)
    made = np.random.default_rng(0).standard_normal((n, 2)).astype(np.float32)
    ids = [str(i) for i in range(n)]
    assert storage.store("text", ids, ids, made) == n
    stats = storage.get_storage_stats()["text"]
    assert (stats.rows, stats.fragments, stats.step) == (n, 2, 1)
    rows = storage.query("text", columns=["embedding_id", "embedding"])
    assert rows["embedding_id"].to_pylist() == ids
    assert bits(vectors(rows["embedding"])) == bits(made)
    two = storage.query("text", embedding_ids=["139999", "5"])
    assert bits(vectors(two["embedding"])) == bits(made[[5, 139_999]])


@pytest.mark.parametrize("modality", ["text", "vision", "audio", "clip"])
def test_ids_may_be_any_text(modality: str, tmp_path: Path):
    storage = VectorStorage(tmp_path)
    kinds = ["image"] * len(ODD) if modality == "clip" else None
    storage.store(modality, ODD, ODD[::-1], np.eye(len(ODD)), kinds=kinds)
    for i, one in enumerate(ODD):
        (row,) = storage.query(modality, embedding_ids=[one]).to_pylist()
        assert (row["embedding_id"], np.argmax(row["embedding"])) == (one, i)
        assert storage.query(modality, sources=[one])["embedding_id"].to_pylist() == [ODD[-1 - i]]
    assert storage.delete(modality, ODD[:5]) == 5
    assert storage.query(modality)["embedding_id"].to_pylist() == ODD[5:]


def test_ids_whose_hashes_agree_are_told_apart(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        "llm_compression.memory.storage.ids._hash_chunk", lambda ids: np.zeros(len(ids), np.uint64)
    )
    storage = VectorStorage(tmp_path)
    put(storage, ["a", "b", "c"])
    storage.delete("text", ["b"])
    put(storage, ["b"], 1)
    assert held(storage) == {"a": 0, "c": 0, "b": 1}
    assert storage.query("text", embedding_ids=["d"]).num_rows == 0


CONTENTS = [{}, {"": {"": [None, [1, {"x": True}]]}}, {"n": 2**63}, {"x": 1e-320, "y": -0.0}]


def test_what_stands_beside_a_vector_comes_back(tmp_path: Path):
    times = [
        datetime(1, 1, 1),  # noqa: DTZ001  without a zone it is UTC
        datetime(9999, 12, 31, 23, 59, 59, 999_999, timezone.utc),
        datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5))),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, timezone.utc),
    ]
    storage = VectorStorage(tmp_path)
    storage.store(
        "audio", list("abcd"), list("wxyz"), np.eye(4), model="m", metadata=CONTENTS,
        timestamps=times, durations=[0, 0.5, None, 3e38],
    )  # fmt: skip
    rows = VectorStorage(tmp_path).query("audio").to_pylist()
    assert [json.loads(row["metadata"]) for row in rows] == CONTENTS
    utc = [time if time.tzinfo else time.replace(tzinfo=timezone.utc) for time in times]
    assert [row["timestamp"] for row in rows] == utc
    assert [row["duration_seconds"] for row in rows] == [0, 0.5, None, np.float32(3e38)]
    assert {row["modality"] for row in rows} == {"audio"}
    fixed = ("model", "fingerprint", "dtype", "normalized", "dimension")
    assert {tuple(row[name] for name in fixed) for row in rows} == {("m", "m", "float32", True, 4)}


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize(
    ("change", "column", "value"),
    [
        ({"source": "new"}, "audio_id", "new"),
        ({"metadata": {"n": 5}}, "metadata", '{"n": 5}'),
        ({"duration": 7}, "duration_seconds", 7.0),
        ({"timestamp": datetime(2020, 1, 1, tzinfo=timezone.utc)}, "timestamp", None),
        ({"embedding": [0, 0, 1.0]}, "embedding", [0, 0, 1]),
        ({}, "source", None),
    ],
)
def test_an_update_changes_what_is_given_alone(change, column, value, dtype: str, tmp_path: Path):
    storage = VectorStorage(tmp_path, dtype=dtype)
    made = np.random.default_rng(5).standard_normal((12, 3))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    ids = [str(i) for i in range(12)]
    content = [{"o": i} for i in range(12)]
    storage.store("audio", ids, ids, made, metadata=content, durations=[1] * 12)
    before = {row["embedding_id"]: row for row in storage.query("audio").to_pylist()}
    for one in ids[4:]:
        storage.update("audio", one, **change)
    after = {row["embedding_id"]: row for row in storage.query("audio").to_pylist()}
    wanted = change.get("timestamp", value)
    for one in ids:
        changed = {column: wanted} if one in ids[4:] and change else {}
        assert after[one] == {**before[one], **changed}


@pytest.mark.parametrize("width", [2, 3, 8, 384, 4096])
@pytest.mark.parametrize("then", ["float32", "float16", "int8"])
def test_what_int8_has_rounded_can_be_stored_again(then: str, width: int, tmp_path: Path):
    """By a caller who takes the vectors, with the identity or without, and by an update."""
    made = np.random.default_rng(0).standard_normal((300, width)) ** 5  # some values stand out
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    first = VectorStorage(tmp_path / "first", dtype="int8")
    known = identity(dimension=width)
    store(first, made, identity=known)
    rounded = vectors(first.query("text")["embedding"])
    assert width == 2 or np.abs(np.linalg.norm(rounded, axis=1) - 1).max() > 1e-3
    second = VectorStorage(tmp_path / "second", dtype=then)
    store(second, rounded, identity=known)
    again = vectors(second.query("text")["embedding"])
    store(VectorStorage(tmp_path / "third"), again, identity=known)
    np.testing.assert_allclose(again, rounded, rtol=1e-3, atol=1e-7)
    first.update("text", "id 7", embedding=rounded[7])
    after = vectors(first.query("text", embedding_ids=["id 7"])["embedding"])
    np.testing.assert_allclose(after[0], rounded[7], rtol=1e-6)
    store(VectorStorage(tmp_path / "named"), rounded, model="m")
    assert VectorStorage(tmp_path / "named").identities("text")[0].normalized


@pytest.mark.parametrize("length", [0.998, 1.002, 1.01])
def test_what_int8_has_not_rounded_has_the_length_it_says(length: float, tmp_path: Path):
    made = np.random.default_rng(0).standard_normal((20, 384))
    made *= length / np.linalg.norm(made, axis=1, keepdims=True)
    with pytest.raises(InputError, match=f"row 0 has length {length}"):
        store(VectorStorage(tmp_path), made, identity=identity(dimension=384))
    levels = np.rint(made / np.abs(made).max(axis=1, keepdims=True) * 127)
    levels *= 1.1 / np.linalg.norm(levels, axis=1, keepdims=True)  # further than rounding goes
    with pytest.raises(InputError, match=r"row 0 has length 1\.1"):
        store(VectorStorage(tmp_path), levels, identity=identity(dimension=384))


def test_several_models_are_kept_apart_and_otherwise_refused(tmp_path: Path):
    one = VectorStorage(tmp_path)
    store(one, np.eye(2), model="one")
    for embeddings, model, said in [
        (np.eye(1, 2), "two", "model is 'one' there, 'two' here"),
        (np.eye(1, 3), "one", "dimension is 2 there, 3 here"),
        (np.ones((1, 2)), "one", "normalized is True there, False here"),
    ]:
        with pytest.raises(IdentityMismatchError, match=f"{tmp_path / 'text'} .*{said}"):
            one.store("text", ["new"], ["x"], embeddings, model=model)
    both = VectorStorage(tmp_path, several_models=True)
    for storage in (one, both):
        with pytest.raises(IdentityMismatchError, match="dimension is 2 there, 3 here"):
            storage.update("text", "id 0", embedding=[0, 0, 1.0])
    both.store("text", ["new"], ["x"], np.eye(1, 2), model="two")
    assert [found.model for found in both.identities("text")] == ["one", "two"]
    both.delete("text", ["id 0", "id 1"])
    assert [found.model for found in both.identities("text")] == ["two"]


def test_a_named_model_may_say_that_lengths_differ(tmp_path: Path):
    first = VectorStorage(tmp_path / "first")
    store(first, np.array([[0.6, 0.8]]), model="m")
    with pytest.raises(IdentityMismatchError, match=r"identity=.*declared\(.*normalized=False"):
        first.store("text", ["b"], ["b"], np.array([[3.0, 4.0]]), model="m")
    second = VectorStorage(tmp_path / "second")
    made = VectorIdentity.declared("text", "m", 2, normalized=False, precision="float32")
    for one, vector in (("a", [0.6, 0.8]), ("b", [3.0, 4.0])):
        second.store("text", [one], [one], np.array([vector]), identity=made)
    second.store("text", ["c"], ["c"], np.array([[0.6, 0.8]]), model="m")
    assert second.count("text") == 3


def test_vectors_of_which_the_pooling_is_not_stated_go_with_one_pooling_alone(tmp_path: Path):
    storage = VectorStorage(tmp_path)
    for one, pooling in (("a", ""), ("b", "mean")):
        storage.store("text", [one], ["x"], np.eye(1, 2), identity=pooled(pooling))
    with pytest.raises(IdentityMismatchError, match="pooling is 'mean' there, 'cls' here"):
        storage.store("text", ["c"], ["x"], np.eye(1, 2), identity=pooled("cls"))
    for options in ({}, {"identity": pooled("mean")}, {"identity": pooled("")}):
        found = storage.search(np.eye(2)[0], "text", **options)
        assert [match.embedding_id for match in found] == ["a", "b"]


def pooled(pooling: str) -> VectorIdentity:
    return replace(identity(), pooling=pooling)


def test_a_storage_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    storage = VectorStorage("memory")
    put(storage, ["a"])
    monkeypatch.chdir("/")
    assert list(held(storage)) == ["a"]


def test_numbers_of_numpy_are_numbers(tmp_path: Path):
    storage = VectorStorage(tmp_path)
    store(storage, np.eye(1), metadata=[{"n": np.int64(3), "x": [np.float32(0.5)]}])
    assert storage.query("text", limit=np.int64(1))["metadata"].to_pylist() == [
        '{"n": 3, "x": [0.5]}'
    ]
    assert len(storage.search(np.eye(1)[0], "text", top_k=np.int64(1))) == 1


def test_ids_from_a_generator_are_all_deleted(tmp_path: Path):
    storage = VectorStorage(tmp_path)
    put(storage, ["a", "b", "c"])
    assert storage.delete("text", (one for one in "ab")) == 2
    assert storage.delete("text", ["a", "c", "c"], missing_ok=True) == 1


def test_no_rows_are_stored_as_none(tmp_path: Path):
    assert VectorStorage(tmp_path).store("text", [], [], np.empty((0, 3))) == 0
    assert VectorStorage(tmp_path).count("text") == 0


def test_the_largest_fragment_is_bounded_in_bytes():
    assert dataset.max_rows(384) == dataset.MAX_ROWS
    assert dataset.max_rows(4096) * 4096 * 4 == 256 << 20
    assert dataset.max_rows(1 << 30) == 1
