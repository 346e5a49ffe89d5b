"""Quantised tensors as float32, against values worked by hand and by plain numpy loops."""

from pathlib import Path

import numpy as np
import pytest

from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.schema import Quantization
from tests.weights.weight_tables import Content, Stored, of_values, unpacked_int4


def dequantized(content: Content, name: str) -> np.ndarray:
    """``(stored - zero_point) * scale``, element by element."""
    stored = content.tensors[name]
    quantization = stored.quantization
    assert quantization is not None
    values = integers(stored)
    scale = content.tensors[quantization.scale]
    scales = np.frombuffer(scale.raw.tobytes(), "<f4").reshape(scale.shape)
    zeros = np.zeros(scale.shape, np.int64)
    if quantization.zero_point:
        zeros = integers(content.tensors[quantization.zero_point]).astype(np.int64)
    result = np.empty(stored.shape, np.float32)
    for place in np.ndindex(*stored.shape):
        group = list(place)
        group[quantization.axis] //= quantization.group_size
        result[place] = np.float32(int(values[place]) - zeros[tuple(group)]) * scales[tuple(group)]
    return result


def integers(stored: Stored) -> np.ndarray:
    if stored.dtype == "int4":
        return unpacked_int4(stored.raw, stored.shape)
    return stored.raw.view(np.int8).reshape(stored.shape)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("name", ["int8.weight", "int4.weight"])
def test_agrees_with_the_formula(
    every_dtype_table: Path, content: Content, name: str, mapped: bool
):
    found = WeightLoader(every_dtype_table, mapped=mapped).dequantize(name)
    assert found.dtype.is_floating_point
    assert np.array_equal(found.numpy(), dequantized(content, name))


@pytest.mark.parametrize("mapped", [False, True])
def test_int4_worked_by_hand(tmp_path: Path, mapped: bool):
    # Bytes 0x21 0xF8 hold 1, 2, -8, -1 (low nibble first). Groups of two along axis 1:
    # scales 0.5 and 2, zero points 1 and -1.
    packed = np.array([0x21, 0xF8], np.uint8)
    quantization = Quantization(axis=1, group_size=2, scale="s", zero_point="z")
    tensors = {
        "w": Stored("int4", (1, 4), packed, quantization),
        "s": of_values("float32", np.array([[0.5, 2.0]], np.float32)),
        "z": of_values("int8", np.array([[1, -1]], np.int8)),
    }
    Content(tensors, {}).write(tmp_path / "t.parquet")
    loader = WeightLoader(tmp_path / "t.parquet", mapped=mapped)
    assert loader.get_tensor("w").tolist() == [[1, 2, -8, -1]]
    assert loader.dequantize("w").tolist() == [[0.0, 0.5, -14.0, 0.0]]


@pytest.mark.parametrize("mapped", [False, True])
def test_groups_along_the_first_axis(tmp_path: Path, mapped: bool):
    values = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, -128]], np.int8)
    stored = of_values("int8", values)
    quantization = Quantization(axis=0, group_size=2, scale="s")
    tensors = {
        "w": Stored("int8", stored.shape, stored.raw, quantization),
        "s": of_values("float32", np.array([[1, 10, 100], [2, 4, 0.5]], np.float32)),
    }
    Content(tensors, {}).write(tmp_path / "t.parquet")
    found = WeightLoader(tmp_path / "t.parquet", mapped=mapped).dequantize("w")
    assert found.tolist() == [[1, 20, 300], [4, 50, 600], [14, 32, 4.5], [20, 44, -64]]


def test_a_scale_may_be_float16(tmp_path: Path):
    tensors = {
        "w": Stored("int8", (2,), np.array([3, 250], np.uint8), Quantization(0, 2, "s")),
        "s": of_values("float16", np.array([0.25], np.float16)),
    }
    Content(tensors, {}).write(tmp_path / "t.parquet")
    assert WeightLoader(tmp_path / "t.parquet").dequantize("w").tolist() == [0.75, -1.5]


def test_a_tensor_that_is_not_quantised_is_cast(every_dtype_table: Path, content: Content):
    loader = WeightLoader(every_dtype_table)
    ids = np.frombuffer(content.tensors["int32.ids"].raw.tobytes(), "<i4").reshape(2, 3, 7)
    assert np.array_equal(loader.dequantize("int32.ids").numpy(), ids.astype(np.float32))
    assert loader.dequantize("scalar").shape == ()
