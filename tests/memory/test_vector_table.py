"""Vectors at rest: what is written is read, with how it was made; what is no such file is named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_compression.errors import IdentityMismatchError, InputError, TargetBusyError
from llm_compression.files.atomic import atomic_write
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.vector_table import VectorTable
from llm_compression.metrics.quantization import EmbeddingRanges
from llm_compression.spec import codec
from llm_compression.spec.names import PRECISIONS

IDENTITY = VectorIdentity(
    "f" * 64, "float32", 32, 4, normalized=True, precision="float32", pooling="mean",
    prompt="query: ",
)  # fmt: skip
RANGES = EmbeddingRanges(np.float32([-1, 0, 0.1, 1]), np.float32([0, 1, 0.3, 1]), "m")
TEXTS = ["the cat", "", "日本 🙂\x00\n", "the cat"]


def table(precision: str = "float32", rows: int = 4, **options: Any) -> VectorTable:
    numbers = np.random.default_rng(0).normal(size=(rows, 4)) * 50
    kind = {"binary": "int8", "ubinary": "uint8"}.get(precision, precision)
    width = 1 if "binary" in precision else 4
    return VectorTable(
        sources=TEXTS[:rows],
        vectors=numbers[:, :width].astype(kind),
        token_counts=list(range(rows)),
        truncated=[i % 2 == 0 for i in range(rows)],
        identity=replace(IDENTITY, precision=precision),
        **options,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors.parquet"


def assert_equal(ours: VectorTable, theirs: VectorTable) -> None:
    np.testing.assert_array_equal(ours.vectors, theirs.vectors)
    assert ours.vectors.dtype == theirs.vectors.dtype
    assert ours.vectors.shape == theirs.vectors.shape
    for name in ("sources", "token_counts", "truncated", "identity"):
        assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [0, 1, 4])
def test_what_is_written_is_read(precision: str, rows: int, path: Path):
    written = table(precision, rows)
    written.write(path)
    assert_equal(VectorTable.read(path), written)


def test_values_keep_their_bits(path: Path):
    vectors = np.array([[np.nan, -0.0, np.inf, 1e-45]], np.float32)
    replace(table(rows=1), vectors=vectors).write(path)
    assert VectorTable.read(path).vectors.tobytes() == vectors.tobytes()


def test_ranges_come_along(path: Path):
    written = table("int8", ranges=RANGES)
    replace(written, identity=replace(written.identity, ranges=RANGES.digest)).write(path)
    found = VectorTable.read(path)
    assert (found.ranges, found.identity.ranges) == (RANGES, RANGES.digest)
    table().write(path)
    assert (VectorTable.read(path).ranges, VectorTable.read(path).identity.ranges) == (None, "")


def test_a_cut_of_a_larger_array(path: Path):
    """Rows that are views with gaps between them."""
    wide = np.arange(40, dtype=np.float32).reshape(4, 10)[:, 3:7]
    replace(table(), vectors=wide).write(path)
    np.testing.assert_array_equal(VectorTable.read(path).vectors, wide)


def test_the_columns(path: Path):
    table().write(path)
    schema = pq.read_schema(path)
    item = pa.field("item", pa.float32(), nullable=False)
    assert [(field.name, field.type) for field in schema] == [
        ("text", pa.string()),
        ("vector", pa.list_(item, 4)),
        ("token_count", pa.int32()),
        ("truncated", pa.bool_()),
    ]
    assert not schema.field("vector").type.value_field.nullable


def test_any_reader_opens_it(path: Path):
    table().write(path)
    frame = polars.read_parquet(path)
    np.testing.assert_array_equal(np.stack(frame["vector"].to_list()), table().vectors)
    query = f"SELECT text, vector[1] FROM '{path}' ORDER BY token_count"
    found = duckdb.sql(query).fetchall()
    assert found == list(zip(TEXTS, table().vectors[:, 0].tolist(), strict=True))


def test_the_old_file_stays_until_the_new_one_is_whole(path: Path, monkeypatch: pytest.MonkeyPatch):
    table(rows=1).write(path)
    before = path.read_bytes()
    real = pq.write_table

    def half(values: pa.Table, where: Path, **options: Any) -> None:
        real(values, where, **options)
        assert path.read_bytes() == before
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(OSError, match="No space left"):
        table().write(path)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == {path.name: before}


def test_two_writers_of_one_file(path: Path):
    with atomic_write(path) as draft:
        with pytest.raises(TargetBusyError):
            table().write(path)
        draft.keep = False


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        VectorTable.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path} holds no vectors of `llm-compression embed`")
    return message


def test_no_file(path: Path):
    refused(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"text\n" * 100])
def test_not_parquet(content: bytes, path: Path):
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_truncated(share: float, path: Path):
    table().write(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path)


def test_a_model_is_no_vectors(tiny_table: Path):
    refused(tiny_table)


def rewrite(path: Path, change: dict[bytes, bytes | None], **columns: pa.Array) -> None:
    """A file of ours with other metadata or columns."""
    table().write(path)
    found = pq.read_table(path)
    metadata = {**found.schema.metadata, **change}
    kept = {key: value for key, value in metadata.items() if value is not None}
    arrays = {name: found[name] for name in found.column_names} | columns
    pq.write_table(pa.table(arrays).replace_schema_metadata(kept), path)


@pytest.mark.parametrize("value", [None, b"\xff\xfe", b"{}", b"[]", b"nonsense"])
def test_metadata_that_is_none(value: bytes | None, path: Path):
    rewrite(path, {b"llm_compression.vectors": value})
    refused(path)


def test_files_from_before_the_identity_stated_all(path: Path):
    """Their prompt and ranges stand beside it, and are compared all the same."""
    stated = codec.dumps(replace(IDENTITY, precision="int8", pooling="", prompt=""))
    before = {b"llm_compression.vectors": stated.encode(), b"llm_compression.prompt": b"query: ",
              b"llm_compression.ranges": RANGES.to_json().encode()}  # fmt: skip
    rewrite(path, before, vector=pa.array([[1, 2, 3, 4]] * 4, pa.list_(pa.int8(), 4)))
    found = VectorTable.read(path).identity
    replace(IDENTITY, precision="int8", ranges=RANGES.digest).check(found, "v.parquet")
    with pytest.raises(IdentityMismatchError, match="prompt is 'query: ' there, '' here; ranges"):
        replace(IDENTITY, precision="int8", prompt="").check(found, "v.parquet")


def test_a_prompt_that_is_no_text(path: Path):
    rewrite(path, {b"llm_compression.prompt": b"\xff\xfe"})
    refused(path)


def test_other_ranges_than_the_identity_states(path: Path):
    other = codec.dumps(replace(IDENTITY, ranges="0" * 64)).encode()
    rewrite(path, {b"llm_compression.vectors": other})
    assert "ranges" in refused(path)


@pytest.mark.parametrize(
    "change", [{"precision": "int4"}, {"precision": ""}, {"dimension": -4}, {"dimension": 5}]
)
def test_an_identity_that_cannot_be(change: dict[str, Any], path: Path):
    identity = codec.dumps(replace(IDENTITY, **change)).encode()
    rewrite(path, {b"llm_compression.vectors": identity})
    refused(path)


def test_ranges_that_are_none(path: Path):
    rewrite(path, {b"llm_compression.ranges": b"{}"})
    with pytest.raises(InputError, match="does not hold embedding ranges"):
        VectorTable.read(path)


@pytest.mark.parametrize(
    "vector",
    [
        pa.array([1.0, 2.0, 3.0, 4.0]),
        pa.array(["a", "b", "c", "d"]),
        pa.array([[1.0], [1.0, 2.0], [3.0], []], pa.list_(pa.float32())),
        pa.array([[1.0] * 8, None, [1.0] * 4, [1.0] * 4], pa.list_(pa.float32())),
        pa.array([[1.0, 2.0, 3.0]] * 4, pa.list_(pa.float32(), 3)),
        pa.array([["a"] * 4] * 4, pa.list_(pa.string(), 4)),
    ],
)
def test_a_vector_column_of_another_kind(vector: pa.Array, path: Path):
    """Also one whose width or type is not what the identity says."""
    rewrite(path, {}, vector=vector)
    refused(path)


@pytest.mark.parametrize("name", ["text", "vector", "token_count", "truncated"])
def test_a_column_that_is_missing(name: str, path: Path):
    table().write(path)
    found = pq.read_table(path)
    pq.write_table(found.drop_columns([name]), path)
    assert name in refused(path)
