"""What the writer refuses, before a file of it can be read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llm_compression.errors import WeightTableError
from llm_compression.weights.schema import FileRole, Quantization
from llm_compression.weights.writer import WeightWriter
from tests.weights.weight_tables import PROVENANCE, SPEC, Content, Stored


def packed(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)


def refused(path: Path, content: Content, says: str) -> None:
    with pytest.raises(WeightTableError, match=says):
        content.write(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.parquet"


def test_bytes_that_do_not_fit_the_shape(path: Path):
    stored = Stored("float32", (2, 2), np.zeros(12, np.uint8))
    refused(path, Content({"a": stored}, {}), r"tensor a: float32 \[2, 2\] takes 16 bytes, got 12")


def test_padding_of_an_odd_int4_that_is_not_zero(path: Path):
    Content({"a": Stored("int4", (3,), packed(0x21, 0x03))}, {}).write(path)
    stored = Stored("int4", (3,), packed(0x21, 0x13))
    refused(path, Content({"a": stored}, {}), "tensor a: the last high nibble must be 0")


def test_a_quantisation_that_does_not_fit(path: Path, content: Content):
    weight = replace(content.tensors["int8.weight"], quantization=Quantization(2, 1, "int8.scale"))
    refused(path, content.with_tensor("int8.weight", weight), "int8.weight is quantised with")


@pytest.mark.parametrize("name", ["../up", "/root", "a//b", "C:a", "a\\b", ""])
def test_an_attached_file_that_would_leave_its_folder(path: Path, content: Content, name: str):
    refused(path, content.with_file(name, FileRole.SOURCE, b""), "is no plain relative path")


def test_a_name_given_twice(path: Path):
    writer = WeightWriter(path, SPEC, ["int8"])
    with pytest.raises(WeightTableError, match="a stands twice"), writer:
        write_twice(writer)


def write_twice(writer: WeightWriter) -> None:
    for _ in range(2):
        writer.add_tensor("a", packed(1, 2), "int8", (2,), source="a", source_dtype="int8")
    writer.finish(PROVENANCE)


def test_an_abandoned_table_is_not_one(path: Path):
    with WeightWriter(path, SPEC, ["int8"]) as writer:
        writer.add_tensor("a", packed(1, 2), "int8", (2,), source="a", source_dtype="int8")
    assert b"llm_compression.seal" not in path.read_bytes()
