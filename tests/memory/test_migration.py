"""Datasets of the system before this one: refused where they lie, and brought over bit for bit."""

import os
import signal
from datetime import timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_compression import MultimodalStorage, migrate
from llm_compression.errors import InputError, StorageError, StorageNotFoundError
from llm_compression.memory import migration
from llm_compression.memory.vector_reader import VectorReader
from tests.memory.predecessor import SOURCES, TIME, old_vectors, write_old

MODALITIES = sorted(SOURCES)


def matrix(table: pa.Table) -> np.ndarray:
    column = table["embedding"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Ten rows of each modality."""
    for seed, modality in enumerate(MODALITIES):
        write_old(tmp_path / "old", modality, old_vectors(10, seed=seed))
    return tmp_path / "old"


@pytest.mark.parametrize("kind", [MultimodalStorage, VectorReader])
def test_an_old_folder_is_refused_with_the_remedy(old: Path, kind: type) -> None:
    with pytest.raises(StorageError, match=r"earlier system; llm_compression\.migrate\('.*old', "):
        kind(old)


@pytest.mark.parametrize("seed", range(3))
def test_every_row_comes_over_bit_for_bit(old: Path, tmp_path: Path, seed: int) -> None:
    assert migrate(old, tmp_path / "new") == dict.fromkeys(MODALITIES, 10)
    modality = MODALITIES[seed]
    storage = MultimodalStorage(tmp_path / "new")
    table = storage.query(modality)
    assert matrix(table).astype(np.float16).tobytes() == old_vectors(10, seed=seed).tobytes()
    assert storage.get_storage_stats()[modality].dtypes == ("float16",)
    assert table["embedding_id"].to_pylist() == [f"{modality}-{i}" for i in range(10)]
    assert table[SOURCES[modality]].to_pylist() == [f"source {i}" for i in range(10)]
    assert set(table["model"].to_pylist()) == {"clip-vit-b32"}
    assert set(table["timestamp"].to_pylist()) == {TIME.replace(tzinfo=timezone.utc)}
    assert table["metadata"].to_pylist() == [f'{{"n": {i}}}' for i in range(10)]
    if modality == "audio":
        assert table["duration_seconds"].to_pylist() == [0.5 * i for i in range(10)]
    if modality == "clip":
        assert table["modality"].to_pylist() == ["text" if i % 2 else "image" for i in range(10)]
    (best,) = storage.search(old_vectors(10, seed=seed)[4].astype(np.float32), modality, top_k=1)
    assert best.embedding_id == f"{modality}-4"


def test_the_old_files_stay_as_they_are(old: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*.parquet")}
    migrate(old, tmp_path / "new")
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before


def test_called_again_it_changes_nothing(old: Path, tmp_path: Path) -> None:
    migrate(old, tmp_path / "new")
    storage = MultimodalStorage(tmp_path / "new")
    storage.update("clip", "clip-3", metadata={"changed": True})
    write_old(old, "vision", old_vectors(12))
    assert migrate(old, tmp_path / "new") == {"audio": 0, "clip": 0, "vision": 2}
    assert storage.count("vision") == 12
    assert storage.query("clip", filter={"changed": True}).num_rows == 1


def killed(pipe, old: Path, new: Path, after: int) -> None:
    """Migrates until so many modalities are stored, then dies."""
    store, done = migration._store, []

    def dying(*args: object, **options: object) -> int:
        if len(done) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(store(*args, **options))
        return done[-1]

    migration._store = dying
    migrate(old, new)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_killed_and_called_again_it_goes_on(start, old: Path, tmp_path: Path, after: int) -> None:
    _, process = start(killed, old, tmp_path / "new", after)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert sum(migrate(old, tmp_path / "new").values()) == 10 * (3 - after)
    storage = MultimodalStorage(tmp_path / "new")
    assert [storage.count(modality) for modality in MODALITIES] == [10] * 3


@pytest.mark.parametrize("width", [1, 384, 768])
def test_any_width(tmp_path: Path, width: int) -> None:
    write_old(tmp_path / "old", "vision", old_vectors(3, width))
    migrate(tmp_path / "old", tmp_path / "new")
    assert MultimodalStorage(tmp_path / "new").get_storage_stats()["vision"].dimensions == (width,)


def test_wider_types_keep_their_bits(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    write_old(tmp_path / "old", "vision", vectors)
    migrate(tmp_path / "old", tmp_path / "new")
    table = MultimodalStorage(tmp_path / "new").query("vision")
    assert matrix(table).tobytes() == vectors.tobytes()


def test_a_dtype_may_be_chosen(old: Path, tmp_path: Path) -> None:
    migrate(old, tmp_path / "new", dtype="int8")
    stats = MultimodalStorage(tmp_path / "new").get_storage_stats()
    assert stats["clip"].dtypes == ("int8",)


def test_ids_that_stand_twice_are_an_error_or_the_last_counts(tmp_path: Path) -> None:
    write_old(tmp_path / "old", "vision", old_vectors(4), ids=["a", "b", "a", "c"])
    with pytest.raises(StorageError, match="id 'a' stands twice among vision; duplicates='last'"):
        migrate(tmp_path / "old", tmp_path / "new")
    assert migrate(tmp_path / "old", tmp_path / "new", duplicates="last") == {"vision": 3}
    table = MultimodalStorage(tmp_path / "new").query("vision")
    assert table["embedding_id"].to_pylist() == ["b", "a", "c"]
    assert table["image_id"].to_pylist() == ["source 1", "source 2", "source 3"]


def test_several_models_are_an_error_or_kept_apart(tmp_path: Path) -> None:
    models = ["one", "two", "one", None, ""]
    write_old(tmp_path / "old", "clip", old_vectors(5), models=models)
    with pytest.raises(StorageError, match=r"'one', 'two', None, ''.*several_models=True"):
        migrate(tmp_path / "old", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert migrate(tmp_path / "old", tmp_path / "new", several_models=True) == {"clip": 5}
    storage = MultimodalStorage(tmp_path / "new")
    assert [one.model for one in storage.identities("clip")] == ["one", "two", "unnamed"]
    assert storage.query("clip", model="one")["embedding_id"].to_pylist() == ["clip-0", "clip-2"]


READS_NULLS = int(pa.__version__.split(".")[0]) > 20  # among lists of one size, from Parquet


@pytest.mark.parametrize("bad", ["NaN", "infinite", *(["null"] if READS_NULLS else [])])
def test_rows_that_cannot_be_stored_are_named_or_skipped(tmp_path: Path, bad: str) -> None:
    vectors = old_vectors(4, 8)
    if bad != "null":
        vectors[2, 5] = np.nan if bad == "NaN" else np.inf
    rows = [None if bad == "null" and i == 2 else list(row) for i, row in enumerate(vectors)]
    column = pa.array(rows, pa.list_(pa.float16(), 8))
    write_old(tmp_path / "old", "vision", vectors, embeddings=column)
    with pytest.raises(InputError, match=r"1 rows of vision .* 'vision-2' for one; invalid='skip'"):
        migrate(tmp_path / "old", tmp_path / "new")
    assert migrate(tmp_path / "old", tmp_path / "new", invalid="skip") == {"vision": 3}
    found = MultimodalStorage(tmp_path / "new").query("vision")
    assert found["embedding_id"].to_pylist() == ["vision-0", "vision-1", "vision-3"]
    assert matrix(found).astype(np.float16).tobytes() == vectors[[0, 1, 3]].tobytes()


def test_null_metadata_is_none_at_all(tmp_path: Path) -> None:
    write_old(tmp_path / "old", "vision", old_vectors(3), metadata=[None, {"a": [1, "b"]}, {}])
    migrate(tmp_path / "old", tmp_path / "new")
    table = MultimodalStorage(tmp_path / "new").query("vision")
    assert table["metadata"].to_pylist() == ["{}", '{"a": [1, "b"]}', "{}"]


def test_metadata_that_is_no_object_names_the_row(tmp_path: Path) -> None:
    write_old(tmp_path / "old", "vision", old_vectors(2), metadata=[{}, [1]])
    with pytest.raises(InputError, match="metadata that is no JSON, 'vision-1' for one"):
        migrate(tmp_path / "old", tmp_path / "new")
    assert migrate(tmp_path / "old", tmp_path / "new", invalid="skip") == {"vision": 1}


@pytest.mark.parametrize(
    ("modality", "column", "values", "said"),
    [
        ("vision", "metadata", ['{"a": NaN}', "{}"], "metadata that is no JSON"),
        ("vision", "metadata", ["{", "{}"], "metadata that is no JSON"),
        ("vision", "image_id", [None, "x"], "no image_id"),
        ("vision", "timestamp", [None, TIME], "no time"),
        ("vision", "timestamp", [253402300800_000_000, 0], "beyond the year 9999"),
        ("vision", "embedding_id", [None, "x"], "no embedding_id"),
        ("vision", "embedding_id", ["", "x"], "no embedding_id"),
        ("audio", "duration_seconds", [-1.0, None], "a duration that is no time"),
        ("audio", "duration_seconds", [np.nan, 0.0], "a duration that is no time"),
        ("audio", "duration_seconds", [np.inf, 3e38], "a duration that is no time"),
        ("clip", "modality", ["sound", "text"], "a wrong modality"),
        ("clip", "modality", [None, "image"], "a wrong modality"),
    ],
)
def test_rows_that_cannot_be_stored_are_named_or_left_out(
    tmp_path: Path, modality: str, column: str, values: list[object], said: str
) -> None:
    change(write_old(tmp_path / "old", modality, old_vectors(2)), column, values)
    name = 0 if column == "embedding_id" else f"'{modality}-0'"
    with pytest.raises(InputError, match=f"1 rows of {modality} have .*{said}.* {name} for one"):
        migrate(tmp_path / "old", tmp_path / "new")
    assert migrate(tmp_path / "old", tmp_path / "new", invalid="skip") == {modality: 1}


def change(file: Path, column: str, values: object, kind: pa.DataType | None = None) -> None:
    """Put other values into a column of an old file."""
    table = pq.read_table(file)
    place = table.schema.get_field_index(column)
    changed = pa.array(values, kind or table.schema.field(column).type)
    pq.write_table(table.set_column(place, column, changed), file)


def test_rows_without_ids_are_all_left_out(tmp_path: Path) -> None:
    file = write_old(tmp_path / "old", "vision", old_vectors(5))
    change(file, "embedding_id", [None, "a", None, "", ""])
    with pytest.raises(InputError, match="4 rows of vision have no embedding_id, 0 for one"):
        migrate(tmp_path / "old", tmp_path / "new")
    assert migrate(tmp_path / "old", tmp_path / "new", invalid="skip") == {"vision": 1}


def test_lengths_that_cannot_be_compared_are_left_out(tmp_path: Path) -> None:
    vectors = np.array([[1, 0], [3e38, 3e38], [1e-40, 0], [0, 0]], np.float32)
    write_old(tmp_path / "old", "vision", vectors)
    with pytest.raises(InputError, match=r"2 rows of vision have .* 'vision-1' for one"):
        migrate(tmp_path / "old", tmp_path / "new")
    assert migrate(tmp_path / "old", tmp_path / "new", invalid="skip") == {"vision": 2}


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        (["2024-05-06"] * 2, pa.string(), "is string; make timestamps of it first"),
        ([1, 2_000], pa.timestamp("ns"), "microseconds lose of it: .*; round it"),
    ],
)
@pytest.mark.parametrize("invalid", ["error", "skip"])
def test_times_of_another_type_are_told(
    tmp_path: Path, values: list[object], kind: pa.DataType, said: str, invalid: str
) -> None:
    change(write_old(tmp_path / "old", "vision", old_vectors(2)), "timestamp", values, kind)
    with pytest.raises(InputError, match=f"column 'timestamp' .*{said}"):
        migrate(tmp_path / "old", tmp_path / "new", invalid=invalid)
    assert not (tmp_path / "new").exists()


def test_no_rows_are_no_error(tmp_path: Path) -> None:
    write_old(tmp_path / "old", "audio", old_vectors(0))
    assert migrate(tmp_path / "old", tmp_path / "new") == {"audio": 0}


def test_a_damaged_file_is_named_and_nothing_stored(old: Path, tmp_path: Path) -> None:
    file = old / "clip" / "embeddings.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(
        StorageError, match=r"clip/embeddings.parquet cannot be read.*from a backup"
    ):
        migrate(old, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_of_another_layout_is_named(old: Path, tmp_path: Path) -> None:
    file = old / "clip" / "embeddings.parquet"
    file.write_bytes((old / "vision" / "embeddings.parquet").read_bytes())
    with pytest.raises(StorageError, match=r"no columns \['source_id', 'modality'\]"):
        migrate(old, tmp_path / "new")


def test_wrong_places_and_options_are_refused(old: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageNotFoundError, match=r"no embeddings\.parquet"):
        migrate(tmp_path / "none", tmp_path / "new")
    with pytest.raises(InputError, match="is the old folder"):
        migrate(old, old / ".." / "old")
    with pytest.raises(InputError, match="duplicates 'first' is not one of error, last"):
        migrate(old, tmp_path / "new", duplicates="first")
    with pytest.raises(InputError, match="invalid 'zero' is not one of error, skip"):
        migrate(old, tmp_path / "new", invalid="zero")
    with pytest.raises(InputError, match="dtype 'bf16'"):
        migrate(old, tmp_path / "new", dtype="bf16")
