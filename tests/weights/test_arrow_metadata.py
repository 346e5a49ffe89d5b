"""Metadata read without pyarrow is what pyarrow reads, and damage is an error of one kind."""

import mmap
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_compression.weights.arrow_metadata import schema_metadata
from llm_compression.weights.manifest import KEYS
from llm_compression.weights.mapped import map_file
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import PREFIX
from llm_compression.weights.table_file import key_values, split_footer

FIELDS = [
    pa.field("a", pa.int8(), metadata={"of the field": "not of the schema"}),
    pa.field("b", pa.large_list(pa.dictionary(pa.int32(), pa.string()))),
    pa.field("c", pa.struct([("d", pa.timestamp("us", "UTC"))])),
]
PAIRS = [
    {"": "", "key": "value"},
    {"long": "x" * 100_000, "bytes": b"\x00\xff\x18", "umlaut": "\u00fc"},
    {str(i): str(i * i) for i in range(64)},
]


def written(folder: Path, metadata: dict[str, str | bytes] | None) -> Path:
    schema = pa.schema(FIELDS, metadata)
    with pa.ipc.new_file(str(folder / "file.arrow"), schema) as writer:
        writer.write_table(schema.empty_table())
    return folder / "file.arrow"


@pytest.mark.parametrize("pairs", PAIRS, ids=["short", "long", "many"])
def test_is_what_pyarrow_reads(tmp_path: Path, pairs: dict[str, str | bytes]):
    path = written(tmp_path, pairs)
    wanted = pa.ipc.open_file(str(path)).schema.metadata
    assert schema_metadata(map_file(path)) == wanted
    assert len(wanted) == len(pairs)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [(None, "no field 2"), ({str(i): "" for i in range(65)}, "65 pairs")],
)
def test_none_or_too_many_are_refused(
    tmp_path: Path, pairs: dict[str, str | bytes] | None, message: str
):
    with pytest.raises(ValueError, match=message):
        schema_metadata(map_file(written(tmp_path, pairs)))


def test_damage_is_an_error_or_another_text(tmp_path: Path):
    whole = written(tmp_path, {"key": "value", "other": "text"}).read_bytes()
    chance = random.Random(0)
    for _ in range(5000):
        content = bytearray(whole[: chance.choice([len(whole), chance.randrange(1, 900)])])
        for _ in range(chance.randrange(4)):
            content[chance.randrange(len(content))] = chance.choice([0, 1, 127, 128, 255])
        harmed = mmap.mmap(-1, len(content))
        harmed[:] = bytes(content)
        try:
            found = schema_metadata(harmed)
        except ValueError:
            continue
        assert all(isinstance(part, bytes) for pair in found.items() for part in pair)


def test_pairs_of_a_footer_are_what_pyarrow_reads(every_dtype_table: Path, tmp_path: Path):
    table = WeightTable(every_dtype_table)
    _, footer = split_footer(table._bytes, every_dtype_table)
    wanted = pq.read_metadata(every_dtype_table).metadata
    found = key_values(footer, [*KEYS, "no such name"])
    assert found == {key: wanted[key] for key in found}
    assert set(found) == {f"{PREFIX}{name}".encode() for name in KEYS}


@pytest.mark.parametrize("harm", ["twice", "cut off", "without an end"])
def test_pairs_that_cannot_be_are_refused(harm: str):
    pair = b"\x18\x14llm_compression.spec\x18"
    footers = {
        "twice": pair + b"\x01a" + pair + b"\x01b",
        "cut off": pair + b"\x05abcd",
        "without an end": pair + b"\x80" * 9,
    }
    with pytest.raises(ValueError, match=r"the pair spec|a number without an end"):
        key_values(footers[harm], ["spec"])
