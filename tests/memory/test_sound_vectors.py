"""Vectors of sounds at rest: what they are of, from when to when, and how they were made."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_compression.errors import InputError
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.vector_table import VectorTable
from llm_compression.spec import codec

IDENTITY = VectorIdentity(
    "f" * 64, "float32", 0, 4, normalized=False, precision="float32", modality="audio",
    audio_mode="fast", window=12.5, overlap=0.1,
)  # fmt: skip
KEY = b"llm_compression.vectors"
SOUNDS = ["a.wav", "a.wav", "für/日本.flac"]
TIMES = [(0.0, 12.5), (12.4, 13.0000625), (0.0, 1 / 3)]


def table(rows: int = 3) -> VectorTable:
    return VectorTable(
        sources=SOUNDS[:rows],
        vectors=np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32),
        identity=IDENTITY,
        starts=[start for start, _ in TIMES[:rows]],
        stops=[stop for _, stop in TIMES[:rows]],
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors.parquet"


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_what_is_written_is_read(rows: int, path: Path):
    table(rows).write(path)
    found = VectorTable.read(path)
    np.testing.assert_array_equal(found.vectors, table(rows).vectors)
    assert found.vectors.shape == (rows, 4)
    for name in ("sources", "identity", "starts", "stops"):
        assert getattr(found, name) == getattr(table(rows), name)
    assert (found.token_counts, found.truncated) == ([], [])


def test_the_columns(path: Path):
    table().write(path)
    item = pa.field("item", pa.float32(), nullable=False)
    assert [(field.name, field.type) for field in pq.read_schema(path)] == [
        ("audio", pa.string()),
        ("vector", pa.list_(item, 4)),
        ("start", pa.float64()),
        ("stop", pa.float64()),
    ]


def test_any_reader_opens_it(path: Path):
    table().write(path)
    found = duckdb.sql(f"SELECT audio, start, stop FROM '{path}'").fetchall()
    assert found == [(sound, *times) for sound, times in zip(SOUNDS, TIMES, strict=True)]


@pytest.mark.parametrize("modality", ["text", "image"])
def test_times_are_of_sounds_alone(modality: str, path: Path):
    other = replace(
        table(), identity=replace(IDENTITY, modality=modality), token_counts=[1, 2, 3],
        truncated=[False] * 3,
    )  # fmt: skip
    other.write(path)
    assert not {"start", "stop", "audio"} & set(pq.read_schema(path).names)
    assert (VectorTable.read(path).starts, VectorTable.read(path).stops) == ([], [])


# how they were made


def test_how_they_were_made_is_in_the_file(path: Path):
    table().write(path)
    stated = json.loads(pq.read_schema(path).metadata[KEY])
    parts = {name: stated[name] for name in ("modality", "audio_mode", "window", "overlap")}
    assert parts == {"modality": "audio", "audio_mode": "fast", "window": 12.5, "overlap": 0.1}


@pytest.mark.parametrize("overlap", [0.0, 0.1, 1 / 3])
def test_seconds_keep_their_bits(overlap: float, path: Path):
    """Vectors made alike are not refused for the last digit."""
    replace(table(), identity=replace(IDENTITY, overlap=overlap)).write(path)
    found = VectorTable.read(path).identity
    assert (found.window, found.overlap) == (12.5, overlap)
    found.check(replace(IDENTITY, overlap=overlap), "v.parquet")


def test_vectors_of_texts_say_nothing_of_sounds(path: Path):
    """So files of before there were sounds are read, and those of texts read as before."""
    identity = VectorIdentity("f" * 64, "float32", 9, 4, normalized=True, precision="float32")
    content = codec.dumps(identity)
    assert not {"modality", "audio_mode", "window", "overlap"} & set(json.loads(content))
    assert codec.loads(VectorIdentity, content, "v.parquet") == identity


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"audio_mode": "exact"}, "audio_mode is 'exact' there, 'fast' here"),
        ({"window": 30.0}, "window is 30.0 there, 12.5 here"),
        ({"overlap": 0.0}, "overlap is 0.0 there, 0.1 here"),
        (
            {"modality": "image", "audio_mode": "", "window": 0.0, "overlap": 0.0},
            "modality is 'image' there, 'audio' here; audio_mode is '' there, 'fast' here; "
            "window is 0.0 there, 12.5 here; overlap is 0.0 there, 0.1 here",
        ),
    ],
)
def test_sounds_heard_differently_are_not_compared(change: dict[str, Any], said: str):
    with pytest.raises(InputError) as caught:
        IDENTITY.check(replace(IDENTITY, **change), "v.parquet")
    assert str(caught.value) == (
        f"the vectors in v.parquet were made differently: {said}; embed again"
    )


# files that are none


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        VectorTable.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path} holds no vectors of `llm-compression embed`: ")
    return message


def rewrite(path: Path, identity: str | None = None, **columns: pa.Array) -> None:
    """A file of ours with another identity or other columns."""
    table().write(path)
    found = pq.read_table(path)
    metadata = dict(found.schema.metadata)
    if identity is not None:
        metadata[KEY] = identity.encode()
    arrays = {name: found[name] for name in found.column_names} | columns
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), path)


@pytest.mark.parametrize("name", ["audio", "vector", "start", "stop"])
def test_a_column_that_is_missing(name: str, path: Path):
    table().write(path)
    pq.write_table(pq.read_table(path).drop_columns([name]), path)
    assert name in refused(path)


@pytest.mark.parametrize("name", ["start", "stop"])
@pytest.mark.parametrize(
    "column",
    [
        pa.array([0.0, None, 1.0]),
        pa.array([None] * 3, pa.float64()),
        pa.array(["0:00", "0:30", "1:00"]),
        pa.array([[0.0], [1.0], [2.0]]),
        pa.array([0.0, float("nan"), 1.0]),
    ],
    ids=["null", "nulls", "words", "lists", "nan"],
)
def test_times_that_are_none(column: pa.Array, name: str, path: Path):
    rewrite(path, **{name: column})
    assert name in refused(path)


@pytest.mark.parametrize(
    "column",
    [pa.array(["a.wav", None, "b.wav"]), pa.array([1, 2, 3]), pa.array([b"a", b"b", b"c"])],
    ids=["null", "numbers", "bytes"],
)
def test_sounds_without_a_name(column: pa.Array, path: Path):
    rewrite(path, audio=column)
    assert "audio" in refused(path)


@pytest.mark.parametrize(
    "change",
    [
        {"window": "30"},
        {"window": None},
        {"overlap": True},
        {"audio_mode": 1},
        {"modality": "smell"},
        {"seconds": 30.0},
    ],
)
def test_an_identity_that_cannot_be(change: dict[str, Any], path: Path):
    stated = {**json.loads(codec.dumps(IDENTITY)), **change}
    rewrite(path, json.dumps(stated))
    (said,) = change.values() if "modality" in change else change
    assert str(said) in refused(path)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_truncated(share: float, path: Path):
    table().write(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path)
