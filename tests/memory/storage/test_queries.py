"""Queries give the rows that plain Python would choose, in the order of storing."""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_compression.errors import InputError, StorageError
from llm_compression.memory.storage.filters import Filter
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.storage import filter_model
from tests.memory.storage.filter_model import meets

DAY = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """The disk is not waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@settings(max_examples=60, deadline=None)
@given(filter_model.rows, st.lists(filter_model.filters, min_size=5, max_size=5), st.data())
def test_filters_choose_as_python_does(rows: list[dict[str, Any]], filters: list, data):
    split = data.draw(st.integers(0, len(rows)))
    for i, row in enumerate(rows):
        row |= {"embedding_id": f"id {i}", "model": "m", "dimension": 2}
        if row["duration_seconds"] is not None:
            row["duration_seconds"] = float(np.float32(row["duration_seconds"]))
    with TemporaryDirectory() as folder:
        storage = VectorStorage(folder)
        for part in (rows[:split], rows[split:]):
            if part:
                store(storage, part)
        for chosen in filters:
            found = storage.query("text", filter=chosen, columns=["embedding_id"])
            wanted = [row["embedding_id"] for row in rows if meets(row, chosen)]
            assert found["embedding_id"].to_pylist() == wanted, chosen


def store(storage: VectorStorage, rows: list[dict[str, Any]]) -> None:
    storage.store(
        "text",
        [row["embedding_id"] for row in rows],
        [row["text_id"] for row in rows],
        np.ones((len(rows), 2)),
        model="m",
        metadata=[row["metadata"] for row in rows],
        timestamps=[row["timestamp"] for row in rows],
        durations=[row["duration_seconds"] for row in rows],
    )


@pytest.fixture
def clips(tmp_path: Path) -> VectorStorage:
    """Ten rows in five fragments: texts and images in turns, a day apart."""
    storage = VectorStorage(tmp_path, several_models=True)
    for i in range(0, 10, 2):
        storage.store(
            "clip", [f"t{i}", f"i{i + 1}"], [f"text {i % 4}", f"image {i}"], np.ones((2, 3)),
            kinds=["text", "image"], model="one" if i < 6 else "two",
            timestamps=[DAY + timedelta(days=i), DAY + timedelta(days=i + 1)],
            metadata=[{"n": i}, {"n": i + 1}],
        )  # fmt: skip
    return storage


def ids(storage: VectorStorage, **conditions: Any) -> list[str]:
    return storage.query("clip", columns=["embedding_id"], **conditions)["embedding_id"].to_pylist()


ALL = [f"{'ti'[i % 2]}{i}" for i in range(10)]


@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        ({}, ALL),
        ({"embedding_ids": ["i9", "t4", "no", "t4"]}, ["t4", "i9"]),
        ({"embedding_ids": []}, []),
        ({"sources": ["text 0", "image 2"]}, ["t0", "i3", "t4", "t8"]),
        ({"sources": []}, []),
        ({"kind": "image"}, ALL[1::2]),
        ({"model": "two"}, ALL[6:]),
        ({"model": "neither"}, []),
        ({"since": DAY + timedelta(days=8)}, ALL[8:]),
        ({"until": DAY + timedelta(days=1)}, ALL[:2]),
        ({"since": DAY + timedelta(hours=1), "until": DAY + timedelta(days=3)}, ALL[1:4]),
        ({"since": (DAY + timedelta(days=9)).replace(tzinfo=None)}, ALL[9:]),
        ({"limit": 0}, []),
        ({"limit": 3}, ALL[:3]),
        ({"limit": 99}, ALL),
        ({"kind": "text", "model": "one", "since": DAY + timedelta(days=1), "limit": 1}, ["t2"]),
        ({"embedding_ids": ALL[:5], "filter": {"n": {"$gt": 2}}}, ["i3", "t4"]),
        ({"sources": ["text 0"], "filter": {"n": {"$not": 1}}}, InputError),
    ],
)
def test_each_condition_and_their_combinations(conditions, wanted, clips: VectorStorage):
    if wanted is InputError:
        with pytest.raises(InputError):
            ids(clips, **conditions)
    else:
        assert ids(clips, **conditions) == wanted


@pytest.mark.parametrize("stored", [2**53, 2**53 + 1, -(2**53) - 1, 2**62 + 1, 2.0**53, 0.5, True])
@pytest.mark.parametrize("asked", [2**53, 2**53 + 1, -(2**53) - 1, 2**62 + 1, 0.5, True])
def test_an_element_of_a_list_is_compared_as_the_value_alone(stored, asked, tmp_path: Path):
    storage = VectorStorage(tmp_path)
    storage.store("text", ["a"], ["a"], np.ones((1, 2)), metadata=[{"n": stored}])

    def finds(given: object) -> bool:
        return storage.query("text", filter={"n": given}).num_rows == 1

    there = stored == asked and isinstance(stored, bool) == isinstance(asked, bool)
    of_numpy = np.array(asked)[()]
    assert type(of_numpy) is not type(asked)
    for value in (asked, of_numpy):
        assert finds(value) == finds({"$in": [value]}) == finds({"$in": ["x", value]}) == there
        assert finds({"$ne": value}) == finds({"$nin": (value,)}) != there
    if not isinstance(asked, bool) and not isinstance(stored, bool):
        assert finds({"$gt": of_numpy}) == (stored > asked)


@pytest.mark.parametrize("empty", [[], {}, [[]], [{}]])
def test_what_is_empty_exists_and_equals_nothing(empty: object, tmp_path: Path):
    storage = VectorStorage(tmp_path)
    about = [{"tags": empty}, {}, {"by": {"tags": empty}}]
    storage.store("text", list("abc"), list("abc"), np.ones((3, 2)), metadata=about)

    def found(**wanted: object) -> list[str]:
        return storage.query("text", filter=wanted)["embedding_id"].to_pylist()

    assert found(tags={"$exists": True}) == ["a"]
    assert found(tags={"$exists": False}) == ["b", "c"]
    assert found(**{"by.tags": {"$exists": True}}) == found(by={"$exists": True}) == ["c"]
    for value in (None, 0, 0.0, "", False, float("nan"), "a"):
        assert found(tags=value) == found(tags={"$in": [value]}) == []
        assert found(tags={"$ne": value}) == list("abc")
    for operator in ("$gt", "$gte", "$lt", "$lte"):
        assert found(tags={operator: 0}) == found(tags={operator: ""}) == []


def test_a_query_of_nothing_has_all_columns(tmp_path: Path):
    storage = VectorStorage(tmp_path / "new")
    for modality in ("text", "vision", "audio", "clip"):
        rows = storage.query(modality)
        assert len(rows) == storage.count(modality) == 0
        assert rows.schema.names[0] == "embedding_id"
        assert rows.schema.names[-1] == "embedding"
    assert storage.delete("text", ["a"], missing_ok=True) == storage.compact() == 0
    assert storage.verify() == []
    assert storage.get_storage_stats()["text"].rows == 0
    assert not (tmp_path / "new").exists()


def test_models_of_different_width_are_asked_for_one_by_one(tmp_path: Path):
    storage = VectorStorage(tmp_path, several_models=True)
    storage.store("text", ["a"], ["a"], np.ones((1, 2)), model="narrow")
    storage.store("text", ["b"], ["b"], np.ones((1, 5)), model="wide")
    with pytest.raises(StorageError, match=r"widths \[2, 5\], of different models; ask for one"):
        storage.query("text")
    assert storage.query("text", model="wide")["embedding"].type.list_size == 5
    assert len(storage.query("text", columns=["embedding_id"])) == 2
    assert storage.compact() == 0


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"n": {"$near": 1}}, r"'\$near' of 'n' is not one of \$eq"),
        ({"$nor": []}, r"'\$nor' is no operator"),
        ({"n": {}}, "'n' has no operator"),
        ({"n": {"$in": "text"}}, r"\$in of 'n' takes a list"),
        ({"n": {"$nin": 5}}, r"takes a list"),
        ({"n": {"$gt": None}}, "needs a number"),
        ({"n": {"$lt": True}}, "needs a number"),
        ({"n": {"$exists": 1}}, "is true or false"),
        ({"n": [1, 2]}, "cannot be compared with"),
        ({"n": {"$eq": 1j}}, "cannot be compared with"),
        ({"at": DAY}, "'at' is metadata, which holds no times; store them as ISO strings"),
        ({"metadata.timestamp": {"$lt": DAY}}, "which holds no times"),
        ({"at": {"$nin": ["x", DAY]}}, "which holds no times"),
        ({"n": np.complex64(1)}, "cannot be compared with"),
        ({"n": "\ud800"}, "lone surrogate"),
        ({5: 1}, "5 is no operator"),
        ({"$and": {"n": 1}}, "takes a list"),
        ({"$or": [5]}, "a filter is a dict"),
        ({"$not": []}, "a filter is a dict"),
        ("n = 5", "a filter is a dict"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(bad, said: str, clips: VectorStorage):
    with pytest.raises(InputError, match=said):
        clips.query("clip", filter=bad)
    with pytest.raises(InputError, match=said):
        clips.query("text", filter=bad)  # where nothing is stored as well


@pytest.mark.parametrize(
    "bad",
    [
        {"embedding_ids": "t0"},
        {"embedding_ids": [1]},
        {"embedding_ids": 5},
        {"embedding_ids": ["\ud800"]},
        {"sources": "text 0"},
        {"sources": [None]},
        {"kind": "audio"},
        {"since": "2026-01-01"},
        {"until": 5},
        {"limit": -1},
        {"limit": 0.0},
        {"limit": False},
        {"limit": "1"},
        {"columns": []},
        {"columns": "embedding_id"},
        {"columns": {"embedding_id"}},
        {"columns": ["attributes"]},
        {"columns": ["no"]},
    ],
)
def test_a_condition_that_cannot_be_is_refused(bad, clips: VectorStorage):
    with pytest.raises(InputError):
        clips.query("clip", **bad)
    with pytest.raises(InputError, match="'smell' is not one of text"):
        clips.query("smell")


@pytest.mark.parametrize("wanted", [{"a": 1}, {"text_id": "y"}, {"a": {"$exists": False}}])
def test_columns_of_several_arrays_are_filtered_as_one(wanted: dict[str, Any], tmp_path: Path):
    """Strings of more than 2 GiB do not go into one."""
    storage = VectorStorage(tmp_path, auto_compact=False)
    for i, source in enumerate("xyx"):
        about = [{"a": i}] if i else [{}]
        storage.store("text", [str(i)], [source], np.eye(1, 2), metadata=about)
    chosen = Filter(wanted, "text")
    columns = sorted(chosen.columns)
    version = storage.dataset("text").snapshot()
    parts = [fragment.table(columns) for fragment in version.fragments]
    whole = pa.concat_tables(parts)
    assert whole[columns[0]].num_chunks == 3
    assert chosen.mask(whole).tolist() == [chosen.mask(part)[0] for part in parts]
