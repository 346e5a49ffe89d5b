"""The methods that name a modality, in the order of arguments in which callers have them."""

import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from llm_compression import MultimodalStorage
from llm_compression.errors import DuplicateIdError, IdentityMismatchError, InputError
from llm_compression.memory.identity import VectorIdentity

VECTOR = np.linspace(0.1, 1, 512).astype(np.float16)
TIME = datetime(2025, 1, 2, tzinfo=timezone.utc)
SOURCES = {"text": "text_id", "vision": "image_id", "audio": "audio_id", "clip": "source_id"}


@pytest.fixture
def storage(tmp_path: Path) -> MultimodalStorage:
    return MultimodalStorage(tmp_path)


def one_of_each(storage: MultimodalStorage) -> None:
    """As the calls of the system before this one were."""
    storage.store_text_embedding("t", "hello", VECTOR, "m", {"n": 1})
    storage.store_vision_embedding("v", "cat.png", VECTOR, "m", {"n": 2})
    storage.store_audio_embedding("a", "bark.wav", VECTOR, "m", 2.5, {"n": 3})
    storage.store_clip_embedding("c", "cat.png", "image", VECTOR, "m", {"n": 4})


def queries(storage: MultimodalStorage):
    return {
        "text": storage.query_text_embeddings,
        "vision": storage.query_vision_embeddings,
        "audio": storage.query_audio_embeddings,
        "clip": storage.query_clip_embeddings,
    }


def test_the_single_forms(storage: MultimodalStorage) -> None:
    one_of_each(storage)
    for i, (modality, query) in enumerate(queries(storage).items()):
        (row,) = query().to_pylist()
        assert (row["embedding_id"], row["model"]) == (modality[0], "m")
        assert json.loads(row["metadata"]) == {"n": i + 1}
        assert row["duration_seconds"] == (2.5 if modality == "audio" else None)
        assert np.array_equal(row["embedding"], VECTOR.astype(np.float32))
        assert row[SOURCES[modality]] == ["hello", "cat.png", "bark.wav", "cat.png"][i]


def test_the_plural_forms(storage: MultimodalStorage) -> None:
    vectors, ids, of = np.stack([VECTOR, -VECTOR]), ["1", "2"], ["x", "y"]
    about = [{"a": 1}, None]
    assert storage.store_text_embeddings(ids, of, vectors, "m", about) == 2
    assert storage.store_vision_embeddings(ids, of, vectors, "m", about) == 2
    assert storage.store_audio_embeddings(ids, of, vectors, "m", [1.0, None], about) == 2
    assert storage.store_clip_embeddings(ids, of, ["text", "image"], vectors, "m", about) == 2
    for modality, query in queries(storage).items():
        assert query()[SOURCES[modality]].to_pylist() == of
        assert query()["metadata"].to_pylist() == ['{"a": 1}', "{}"]
    assert storage.query_audio_embeddings()["duration_seconds"].to_pylist() == [1.0, None]


def test_options_of_store_reach_it(storage: MultimodalStorage) -> None:
    one_of_each(storage)
    with pytest.raises(DuplicateIdError, match="replace=True"):
        storage.store_vision_embedding("v", "dog.png", VECTOR, "m")
    storage.store_vision_embedding("v", "dog.png", VECTOR, "m", timestamps=TIME, replace=True)
    (row,) = storage.query_vision_embeddings().to_pylist()
    assert (row["image_id"], row["timestamp"]) == ("dog.png", TIME)


def test_queries_by_position(storage: MultimodalStorage) -> None:
    ids, of = ["1", "2", "3"], ["x", "x", "y"]
    vectors = np.stack([VECTOR] * 3)
    storage.store_text_embeddings(ids, of, vectors)
    storage.store_vision_embeddings(ids, of, vectors)
    storage.store_audio_embeddings(ids, of, vectors)
    storage.store_clip_embeddings(ids, of, ["text", "image", "image"], vectors)
    for query in [*queries(storage).values()][:3]:
        assert query(["3", "1"])["embedding_id"].to_pylist() == ["1", "3"]
        assert query(None, ["x"])["embedding_id"].to_pylist() == ["1", "2"]
        assert query(None, ["x"], 1)["embedding_id"].to_pylist() == ["1"]
    clip = storage.query_clip_embeddings
    assert clip(["x"])["embedding_id"].to_pylist() == ["1", "2"]
    assert clip(["x"], "image")["embedding_id"].to_pylist() == ["2"]
    assert clip(None, "image", ["3"])["embedding_id"].to_pylist() == ["3"]
    assert clip(limit=1, columns=["embedding_id"]).to_pylist() == [{"embedding_id": "1"}]


def test_mistyped_options_are_refused(storage: MultimodalStorage) -> None:
    with pytest.raises(TypeError, match="timestamp"):
        storage.store_text_embedding("t", "hello", VECTOR, timestamp=TIME)
    with pytest.raises(TypeError, match="idss"):
        storage.query_text_embeddings(idss=["t"])
    assert storage.count("text") == 0


def test_one_embedding_is_a_vector(storage: MultimodalStorage) -> None:
    with pytest.raises(InputError, match=r"one embedding is \(d,\), not \(1, 512\)"):
        storage.store_text_embedding("t", "hello", VECTOR[None])


def test_clip_rows_say_what_they_were_made_from(storage: MultimodalStorage) -> None:
    with pytest.raises(InputError, match="made from 'sound'"):
        storage.store_clip_embedding("c", "x", "sound", VECTOR)
    with pytest.raises(InputError, match="made from: text or image"):
        storage.store("clip", ["c"], ["x"], [VECTOR])
    with pytest.raises(InputError, match="'video'"):
        storage.query_clip_embeddings(modality="video")


def test_models_that_differ_in_name_do_not_mix(storage: MultimodalStorage) -> None:
    storage.store_text_embedding("1", "x", VECTOR, "one")
    with pytest.raises(IdentityMismatchError, match="model is 'one' there, 'two' here"):
        storage.store_text_embedding("2", "y", VECTOR, "two")


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_table_of_a_query_goes_back_in_as_it_came_out(tmp_path: Path, dtype: str) -> None:
    first = MultimodalStorage(tmp_path / "1", dtype=dtype)
    one_of_each(first)
    second = MultimodalStorage(tmp_path / "2")
    for modality, query in queries(first).items():
        assert second.store_table(modality, query()) == 1
        assert second.identities(modality) == first.identities(modality)
        ours, theirs = queries(second)[modality](), query()
        assert ours.schema.metadata == theirs.schema.metadata
        assert ours.drop_columns(["dtype"]).equals(theirs.drop_columns(["dtype"]))


def made_by(fingerprint: str) -> VectorIdentity:
    return VectorIdentity(fingerprint, "float32", 128, 2, normalized=True, precision="float32")


def stored_by(path: Path, fingerprint: str) -> pa.Table:
    storage = MultimodalStorage(path)
    storage.store(
        "text", [fingerprint], ["x"], np.eye(1, 2), model="m", identity=made_by(fingerprint)
    )
    return storage.query_text_embeddings()


@pytest.mark.parametrize("stated", [True, False])
def test_a_table_of_several_models_is_not_stored_as_of_one(tmp_path: Path, stated: bool) -> None:
    tables = [stored_by(tmp_path / one, one) for one in ("f" * 32, "0" * 32)]
    both = pa.concat_tables(tables)
    if not stated:
        both = both.replace_schema_metadata(None)
    storage = MultimodalStorage(tmp_path / "both", several_models=True)
    with pytest.raises(IdentityMismatchError, match="rows have the fingerprint"):
        storage.store_table("text", both)
    assert sum(storage.store_table("text", table) for table in tables) == 2
    assert {one.model for one in storage.identities("text")} == {"f" * 32, "0" * 32}


def test_times_beyond_all_clocks_are_refused(storage: MultimodalStorage) -> None:
    late = pa.array([1 << 62], pa.timestamp("s"))
    table = pa.table({"embedding_id": ["a"], "text_id": ["x"], "embedding": [[1.0, 2.0]],
                      "timestamp": late})  # fmt: skip
    with pytest.raises(InputError, match="a time that cannot be"):
        storage.store_table("text", table)


def test_a_table_may_have_but_what_must_be(storage: MultimodalStorage) -> None:
    table = pa.table({"embedding_id": ["a", "b"], "text_id": ["x", "y"],
                      "embedding": [[1.0, 2.0], [3.0, 4.0]]})  # fmt: skip
    assert storage.store_table("text", table) == 2
    about = pa.array([{"by": {"age": 3}}, None])
    more = table.append_column("metadata", about).append_column("model", pa.array(["", None]))
    assert storage.store_table("text", more, replace=True) == 2
    assert storage.query("text", filter={"by.age": 3})["text_id"].to_pylist() == ["x"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text_id": None}, "no column 'text_id'; it has"),
        ({"embedding": ["a"]}, "'embedding' is string; give lists of floats"),
        ({"embedding": [[1]]}, "'embedding' is list<.*int64>; give lists of floats"),
        ({"embedding": [None]}, "'embedding' is null"),
        ({"embedding": pa.array([[1.0, None]])}, "holds nulls"),
        ({"timestamp": ["now"]}, "'timestamp' is string; give timestamps"),
        ({"metadata": ["{"]}, "metadata of row 0 is no JSON"),
        ({"embedding_id": [None]}, "list of strings"),
        ({"text_id": [None]}, "sources: row 0 is NoneType"),
    ],
    ids=str,
)
def test_tables_that_cannot_be_stored_are_refused(
    storage: MultimodalStorage, columns: dict[str, object], message: str
) -> None:
    good = {"embedding_id": ["a"], "text_id": ["x"], "embedding": [[1.0, 2.0]]}
    given = {name: values for name, values in {**good, **columns}.items() if values is not None}
    with pytest.raises(InputError, match=message):
        storage.store_table("text", pa.table(given))
    assert storage.count("text") == 0


def test_batches_are_stored_as_a_table(tmp_path: Path) -> None:
    table = stored_by(tmp_path / "first", "f" * 32)
    readers = (table.to_reader(), table.to_batches()[0])
    for i, given in enumerate(readers):
        storage = MultimodalStorage(tmp_path / str(i))
        assert storage.store_table("text", given) == 1
        assert storage.query("text").equals(table, check_metadata=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"embedding_id": ["a"]}, "that is dict, no Arrow table"),
        (None, "that is NoneType"),
        (pa.table([["a"], ["b"]], ["text_id", "text_id"]), "two columns 'text_id'"),
    ],
    ids=["dict", "None", "twice"],
)
def test_what_is_no_table_is_refused(storage, given: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        storage.store_table("text", given)


def test_tables_of_several_widths_are_refused(storage: MultimodalStorage) -> None:
    table = pa.table({"embedding_id": ["a", "b"], "text_id": ["x", "y"],
                      "embedding": [[1.0, 2.0], [3.0]]})  # fmt: skip
    with pytest.raises(InputError, match=r"rows of widths \[1, 2\]; give one width"):
        storage.store_table("text", table)
