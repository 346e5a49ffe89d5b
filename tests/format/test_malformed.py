"""One malformed file for each error: typed, naming the file, saying what to do next."""

import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from llm_compression.errors import (
    CorruptWeightTableError,
    LLMCompressionError,
    NotAWeightTableError,
    UnsupportedVersionError,
    WeightTableError,
    WeightTableNotFoundError,
)
from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import ByteRange, Manifest, Quantization
from tests.format.edit import edited, footer_start, forged
from tests.format.test_golden import FINGERPRINT, GOLDEN
from tests.weights.weight_tables import Content, of_values

REMEDY = re.compile(r"convert|copy .* again|make one|make a|upgrade|give ")
TRUE = GOLDEN.read_bytes()


def look_inside(path: Path) -> None:
    WeightTable(path).manifest  # noqa: B018
    WeightLoader(path).load_weights()


def refused(path: Path, kind: type[LLMCompressionError], says: str) -> None:
    """Opening and looking inside raises just this, with the file's name and a remedy."""
    with pytest.raises(LLMCompressionError) as caught:
        look_inside(path)
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert path.name in message
    assert re.search(says, message), message
    assert REMEDY.search(message), message
    with pytest.raises(kind):
        WeightLoader(path).load_weights()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bad.parquet"


def test_a_missing_file(path: Path):
    refused(path, WeightTableNotFoundError, "no weight table at")


def test_a_folder(path: Path):
    path.mkdir()
    refused(path, WeightTableNotFoundError, r"no weight table at .*model\.parquet")
    (path / "model.parquet").mkdir()
    refused(path, WeightTableError, "cannot read .*directory")
    (path / "model.parquet").rmdir()
    (path / "config.json").write_text("{}")
    refused(path, WeightTableNotFoundError, "is a checkpoint, not a weight table")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"just text", bytes(100)])
def test_something_that_is_not_parquet(path: Path, content: bytes):
    path.write_bytes(content)
    refused(path, NotAWeightTableError, "not a Parquet file")


def test_a_safetensors_file(path: Path):
    save_file({}, path)
    refused(path, NotAWeightTableError, "not a Parquet file")


def test_parquet_of_something_else(path: Path):
    pq.write_table(pa.table({"a": [1, 2]}), path)
    refused(path, NotAWeightTableError, "is Parquet but holds no model")


def test_a_table_that_another_program_wrote_again(path: Path):
    """The metadata copied, the layout lost: the seal cannot be right."""
    pq.write_table(pq.read_table(GOLDEN), path)
    table = pq.read_table(GOLDEN).replace_schema_metadata(pq.read_metadata(GOLDEN).metadata)
    pq.write_table(table, path)
    refused(path, CorruptWeightTableError, "damage in the footer")


def test_cut_short_at_every_length(path: Path):
    path.write_bytes(TRUE)
    for length in [*range(len(TRUE) - 1, len(TRUE) - 40, -1), *range(len(TRUE) - 40, -1, -13)]:
        with open(path, "r+b") as file:
            file.truncate(length)
        with pytest.raises((CorruptWeightTableError, NotAWeightTableError), match=r"bad\.parquet"):
            WeightTable(path)


@pytest.mark.parametrize("junk", [b"\0", b"PAR1", bytes(4096)])
def test_bytes_before_or_behind(path: Path, junk: bytes):
    for content in (junk + TRUE, TRUE + junk, TRUE[:-4] + junk + TRUE[-4:]):
        path.write_bytes(content)
        with pytest.raises(WeightTableError, match=r"bad\.parquet"):
            WeightTable(path).manifest  # noqa: B018


@pytest.mark.parametrize("length", [0, 1, 8, 1000, len(TRUE), 2**31, 2**32 - 1])
def test_a_wrong_footer_length(path: Path, length: int):
    path.write_bytes(TRUE[:-8] + struct.pack("<I", length) + TRUE[-4:])
    with pytest.raises((CorruptWeightTableError, NotAWeightTableError), match=r"bad\.parquet"):
        WeightTable(path)


@pytest.mark.parametrize("place", [0, -1])
def test_a_damaged_magic(path: Path, place: int):
    damaged = bytearray(TRUE)
    damaged[place] ^= 1
    path.write_bytes(damaged)
    refused(path, CorruptWeightTableError, "damaged at its (start|end)")


def test_a_newer_version(path: Path):
    key = b"llm_compression.format_version\x18\x01"  # a string of one byte follows
    path.write_bytes(edited(TRUE, key + b"1", key + b"2"))
    refused(path, UnsupportedVersionError, r"format version '2', this release reads 1; upgrade")


def test_a_blank_seal(path: Path):
    start = footer_start(TRUE)
    blank = re.sub(rb"(?<=seal:sha256:)[0-9a-f]{64}", b"0" * 64, TRUE[start:])
    path.write_bytes(TRUE[:start] + blank)
    refused(path, CorruptWeightTableError, "damage in the footer")


def test_metadata_that_is_not_there(path: Path):
    path.write_bytes(edited(TRUE, b"llm_compression.spec", b"llm_compression.spek"))
    refused(path, NotAWeightTableError, r"has no metadata llm_compression\.spec")


def test_metadata_that_is_not_text(path: Path):
    path.write_bytes(edited(TRUE, b'"family":"bert"', b'"family":"ber\xff"'))
    refused(path, NotAWeightTableError, r"llm_compression\.spec")


SEALED_CONTRADICTIONS = {
    "a wrong fingerprint": (FINGERPRINT[:9], "123456789", "fingerprint does not belong"),
    "a shape": ('"shape":[2,3]', '"shape":[3,2]', "fingerprint does not belong"),
    "a name": ('"name":"int4.odd"', '"name":"int4.add"', "fingerprint does not belong"),
    "a spec value": ('"lowercase":true', '"lowercase":null', "lowercase is None, expected bool"),
    "a spec that cannot be": ('"hidden_size":4', '"hidden_size":5', "5 is not a multiple of"),
    "an enum value": ('"post"', '"past"', "is 'past', expected one of"),
    "an empty axis": ('"shape":[2,3]', '"shape":[0,3]', "no axis may be empty"),
    "an unknown dtype": ('"dtype":"int64"', '"dtype":"int63"', "has dtype 'int63', not of"),
    "an unknown role": ('"preprocessing"', '"preprocessinq"', r"role is 'preprocessinq'"),
    "an unknown key": (
        '"quantization":{"axis":0', '"quantisation":{"axis":0', r"unknown keys \['quantisation'\]"
    ),
    "a missing key": ('"family":"bert",', " " * 16, r"spec has missing keys \['family'\]"),
    "no JSON": ('[{"dtype"', '[["dtype"', "tensors is not valid JSON"),
    "a gap at the start": ('"start":4,', '"start":5,', "float32: its bytes do not follow"),
}  # fmt: skip


@pytest.mark.parametrize("name", SEALED_CONTRADICTIONS)
def test_a_contradiction_under_a_right_seal(path: Path, name: str):
    old, new, says = SEALED_CONTRADICTIONS[name]
    path.write_bytes(edited(TRUE, old.encode(), new.encode()))
    refused(path, CorruptWeightTableError, says)


def with_tensor(manifest: Manifest, tensor: str, /, **changes: object) -> Manifest:
    tensors = [replace(t, **changes) if t.name == tensor else t for t in manifest.tensors]
    return replace(manifest, tensors=tuple(tensors))


def with_last_file(manifest: Manifest, **changes: object) -> Manifest:
    *files, last = manifest.files
    return replace(manifest, files=(*files, replace(last, **changes)))


def shifted(stored: ByteRange, stop: int) -> ByteRange:
    return replace(stored, stop=stored.stop + stop)


@pytest.mark.parametrize("shift", [-1, 1, 100])
def test_a_gap_before_the_footer(path: Path, shift: int):
    def change(true: Manifest) -> Manifest:
        return with_last_file(true, stored=shifted(true.files[-1].stored, shift))

    refused(forged(path, change), CorruptWeightTableError, "row groups, which are not those")


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_gap_between_two_tensors(path: Path, shift: int):
    def change(true: Manifest) -> Manifest:
        return with_tensor(true, "int64", stored=shifted(true.tensors[4].stored, shift))

    refused(forged(path, change), CorruptWeightTableError, "int32: its bytes do not follow")


def test_a_shape_of_another_size(path: Path):
    forged(path, lambda true: with_tensor(true, "float32", shape=(7,)))
    refused(path, CorruptWeightTableError, "row groups, which are not those")


def test_a_tensor_too_few(path: Path):
    forged(path, lambda true: replace(true, files=true.files[:-1]))
    refused(path, CorruptWeightTableError, "row groups, which are not those")


def test_a_column_that_no_tensor_uses(path: Path):
    unused = Content({"a": of_values("float32", np.ones(3, np.float32))}, {})
    unused.write(path, dtypes=["float32", "int8"])
    refused(path, CorruptWeightTableError, "the schema, which is not that of a weight table")


def test_a_tensor_in_another_column(path: Path):
    forged(path, lambda true: with_tensor(true, "int32", dtype="float32"))
    with pytest.raises(CorruptWeightTableError, match=r"bad\.parquet: damage in"):
        WeightLoader(path).get_tensor("int32")


def test_a_checksum_that_is_not_that_of_the_bytes(path: Path):
    def change(true: Manifest) -> Manifest:
        return with_tensor(true, "int8", stored=replace(true.tensors[6].stored, checksum="0" * 64))

    loader = WeightLoader(forged(path, change))
    assert loader.get_tensor("int32").tolist() == [[7, -(2**31)]]
    with pytest.raises(CorruptWeightTableError, match=r"bad\.parquet: damage in int8 "):
        loader.get_tensor("int8")


def test_values_that_are_not_those_of_the_sha256(path: Path):
    loader = WeightLoader(forged(path, lambda true: with_tensor(true, "int8", sha256="0" * 64)))
    with pytest.raises(CorruptWeightTableError, match="int8: the values are not those converted"):
        loader.verify()
    with pytest.raises(CorruptWeightTableError, match="int8"):
        WeightLoader(path, mapped=True)


def test_an_attached_file_of_another_size(path: Path):
    table = WeightTable(forged(path, lambda true: with_last_file(true, size=70_000 * 16 - 1)))
    with pytest.raises(CorruptWeightTableError, match=r"attached file long\.txt"):
        table.read_file("long.txt")


def test_an_attached_file_of_another_sha256(path: Path):
    table = WeightTable(forged(path, lambda true: with_last_file(true, sha256="0" * 64)))
    with pytest.raises(CorruptWeightTableError, match=r"attached file long\.txt"):
        table.verify_all()


@pytest.mark.parametrize(
    "name", ["../up", "/root", "a//b", "a/./b", "a/..", "C:a", "a\\b", "a\nb", ""]
)
def test_an_attached_file_that_would_leave_its_folder(path: Path, name: str):
    forged(path, lambda true: with_last_file(true, name=name))
    refused(path, CorruptWeightTableError, "is no plain relative path")


def test_two_attached_files_of_one_name(path: Path):
    forged(path, lambda true: with_last_file(true, name="empty.txt"))
    refused(path, CorruptWeightTableError, r"file empty\.txt stands twice")


def test_two_tensors_of_one_name(path: Path):
    forged(path, lambda true: with_tensor(true, "scalar", name="float32"))
    refused(path, CorruptWeightTableError, "float32")


QUANTIZATIONS = {
    "an axis that is not there": Quantization(2, 2, "int4.scale"),
    "a negative axis": Quantization(-1, 2, "int4.scale"),
    "groups of nothing": Quantization(1, 0, "int4.scale"),
    "groups that do not fit": Quantization(1, 3, "int4.scale"),
    "no such scale": Quantization(1, 2, "nothing"),
    "a scale of another shape": Quantization(1, 2, "int8.scale"),
    "no such zero point": Quantization(1, 2, "int4.scale", "nothing"),
    "a zero point of another shape": Quantization(1, 2, "int4.scale", "int4.odd"),
}


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_a_quantisation_that_cannot_be(path: Path, name: str):
    forged(path, lambda true: with_tensor(true, "int4", quantization=QUANTIZATIONS[name]))
    refused(path, CorruptWeightTableError, "int4")
