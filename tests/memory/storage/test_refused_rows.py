"""What cannot be stored is refused as it comes, and changes nothing."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from llm_compression.errors import (
    DuplicateIdError,
    InputError,
    LLMCompressionError,
    UnknownIdError,
)
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.storage.steps import held, identity, put, store, vectors


class NaT(datetime):
    """No time, as pandas has it: a datetime that differs from itself."""

    def __ne__(self, other: object) -> bool:
        return True


SURROGATE = "\ud800"
BAD = [
    ({"ids": ["a", "a"]}, DuplicateIdError, "'a' stands twice"),
    ({"ids": ["a", ""]}, InputError, "id of row 1 is empty"),
    ({"ids": "ab"}, InputError, "list of strings"),
    ({"ids": ["a", 5]}, InputError, "ids takes a list of strings, not 5$"),
    ({"ids": None}, InputError, "list of strings"),
    ({"ids": {"a", "b"}}, InputError, "ids takes a list of strings, one for each row, not set"),
    ({"ids": {"a": 1, "b": 2}}, InputError, "one for each row, not dict"),
    ({"ids": iter("ab")}, InputError, "one for each row, not str_"),
    ({"sources": {"a", "b"}}, InputError, "give a list with one entry"),
    ({"kinds": {"text"}}, InputError, "give a list with one entry"),
    ({"metadata": {1: {}, 2: {}}.values()}, InputError, "give a list with one entry"),
    ({"timestamps": {None}}, InputError, "give a list with one entry"),
    ({"durations": {1, 2}}, InputError, "give a list with one entry"),
    ({"ids": ["a"]}, InputError, "1 rows have embeddings of shape"),
    ({"ids": ["a", SURROGATE]}, InputError, "lone surrogate"),
    ({"sources": ["a"]}, InputError, "one entry for each of the 2 rows"),
    ({"sources": "ab"}, InputError, "give a list"),
    ({"sources": iter("ab")}, InputError, "give a list"),
    ({"sources": ["a", None]}, InputError, "row 1 is NoneType; give a string"),
    ({"sources": ["a", SURROGATE]}, InputError, "row 1 holds a lone surrogate"),
    ({"embeddings": [[1.0, 2], [1]]}, InputError, "differ in width"),
    ({"embeddings": [[1.0, 2], [np.nan, 1]]}, InputError, "row 1 holds NaN or infinite"),
    ({"embeddings": [[1.0, 1e300], [1, 1]]}, InputError, "row 0 holds NaN or infinite"),
    ({"embeddings": [[1, 2], [3, 4]]}, InputError, "are int64; give floats"),
    ({"embeddings": [["a"], ["b"]]}, InputError, r"must be \(n, d\) floats"),
    ({"embeddings": [1.0, 2.0]}, InputError, r"of shape \(2,\)"),
    ({"embeddings": np.ones((2, 0))}, InputError, r"of shape \(2, 0\)"),
    ({"embeddings": np.ones((2, 2)), "identity": identity()}, InputError, "has length 1.414"),
    ({"identity": identity(dimension=3)}, InputError, "2 wide, their identity says 3"),
    ({"identity": identity(modality="clip")}, InputError, "do not belong into 'text'"),
    ({"model": 5}, InputError, "model takes a list of strings"),
    ({"model": SURROGATE}, InputError, "lone surrogate"),
    ({"kinds": ["text", "image"]}, InputError, "row 1 was made from 'image'"),
    ({"metadata": [{}]}, InputError, "one entry for each"),
    ({"metadata": {"a": 1}}, InputError, "give a list"),
    ({"metadata": [{}, "x"]}, InputError, "row 1 is str; give a dict"),
    ({"metadata": [{}, {"a": {1}}]}, InputError, "row 1 is no JSON: set .* cannot be stored"),
    ({"metadata": [{}, {"a": {1: 1, "1": 2}}]}, InputError, "the key 1 is int, not a string"),
    ({"metadata": [{}, {"a": float("nan")}]}, InputError, "row 1 is no JSON"),
    ({"metadata": [{}, {"a": SURROGATE}]}, InputError, "row 1 is no JSON"),
    ({"metadata": [{}, {SURROGATE: 1}]}, InputError, "row 1 is no JSON"),
    ({"metadata": [{}, {"a": 10**400}]}, InputError, "row 1 is no JSON"),
    ({"timestamps": ["2026-01-01"] * 2}, InputError, "is no datetime"),
    ({"timestamps": "2026-01-01"}, InputError, "give a list"),
    (
        {"timestamps": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))},
        InputError,
        "not within years 1 to 9999",
    ),
    ({"timestamps": [None, NaT(1, 1, 1)]}, InputError, "is no datetime"),
    ({"identity": "m"}, InputError, "identity is 'm'; give a VectorIdentity"),
    ({"identity": ""}, InputError, "identity is ''; give a VectorIdentity"),
    ({"durations": [1, -1]}, InputError, "row 1 is -1; give seconds"),
    ({"durations": [1, 1e39]}, InputError, "give seconds"),
    ({"durations": [1, float("nan")]}, InputError, "give seconds"),
    ({"durations": [1, "2"]}, InputError, "give seconds"),
    ({"durations": [True, 1]}, InputError, "give seconds"),
]


@pytest.mark.parametrize(("bad", "error", "said"), BAD)
def test_a_row_that_cannot_be_is_refused(bad, error, said: str, tmp_path: Path):
    storage = VectorStorage(tmp_path)
    good = {"ids": ["a", "b"], "sources": ["a", "b"], "embeddings": np.eye(2)}
    storage.store("text", ["old"], ["old"], np.eye(1, 2), model="m")
    with pytest.raises(error, match=said):
        storage.store("text", **{"model": "m", **good, **bad})
    assert storage.query("text")["embedding_id"].to_pylist() == ["old"]


@pytest.mark.parametrize(
    "call",
    [
        lambda storage: VectorStorage(storage.path, dtype="bfloat16"),
        lambda storage: VectorStorage(storage.path, on_damage="ignore"),
        lambda storage: storage.store("clip", ["a"], ["a"], np.eye(1)),
        lambda storage: storage.count("smell"),
        lambda storage: storage.count(["text"]),
        lambda storage: storage.update("text", "a", embedding=[[1.0], [2.0, 3]]),
        lambda storage: storage.update("text", "a", embedding=[float("inf"), 0]),
        lambda storage: storage.update("text", "a", source=5),
        lambda storage: storage.update("text", "a", duration=-1),
        lambda storage: storage.update("text", 5),
        lambda storage: storage.delete("text", "a"),
        lambda storage: storage.delete("text", ["a", "no"]),
        lambda storage: storage.update("text", "no", source="x"),
    ],
)
def test_a_call_that_cannot_be_changes_nothing(call, tmp_path: Path):
    storage = VectorStorage(tmp_path)
    put(storage, ["a"])
    with pytest.raises((InputError, UnknownIdError)) as said:
        call(storage)
    assert isinstance(said.value, LLMCompressionError)
    assert held(storage) == {"a": 0}


def test_float16_takes_no_value_beyond_its_largest(tmp_path: Path):
    with pytest.raises(InputError, match="beyond float16's 65504"):
        store(VectorStorage(tmp_path, dtype="float16"), np.array([[1.0, 70_000]]))


@pytest.mark.parametrize(
    ("dtype", "value"), [("float16", 1e-20), ("float32", 1e-50), ("float32", 5e-324)]
)
def test_a_vector_that_would_become_zero_is_refused(tmp_path: Path, dtype: str, value: float):
    storage = VectorStorage(tmp_path, dtype=dtype)
    with pytest.raises(InputError, match=f"row 1 is too small for {dtype}; "):
        store(storage, np.array([[0.0, 0.0], [value, 0.0]]))
    store(storage, np.zeros((1, 2)))


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("length", [1e-45, 1e-40, 9e-34, 1.1e33, 4e38])
def test_a_vector_whose_scores_no_float32_holds_is_refused(
    tmp_path: Path, dtype: str, length: float
):
    storage = VectorStorage(tmp_path, dtype=dtype)
    bad = np.array([length * 0.8, length * 0.6], np.float32)
    with pytest.raises(InputError, match=r"row 1 has the length .*; scale it so that it is 0, or"):
        store(storage, np.array([[1, 0], bad]))
    store(storage, np.eye(1, 2))
    with pytest.raises(InputError, match="row 0 has the length"):
        storage.update("text", "id 0", embedding=bad)
    assert vectors(storage.query("text")["embedding"]).tolist() == [[1, 0]]
