"""What goes into a weight table comes out, bit for bit, in every dtype and both forms."""

import functools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from llm_compression.errors import TensorNotFoundError
from llm_compression.weights import writer
from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.reader import WeightTable, raw_values
from llm_compression.weights.schema import STORAGE
from llm_compression.weights.writer import PAGE_BYTES
from tests.weights.weight_tables import (
    Content,
    expected_bytes,
    of_values,
    random_bits,
    tensor_bytes,
)

TORCH_DTYPE = {"int4": torch.int8}


def test_the_synthetic_table_has_every_dtype(content: Content):
    assert {stored.dtype for stored in content.tensors.values()} == set(STORAGE)


def test_the_table_gives_back_the_stored_bytes(every_dtype_table: Path, content: Content):
    table = WeightTable(every_dtype_table)
    arrays = table.read_tensors(list(content.tensors))
    for name, stored in content.tensors.items():
        assert raw_values(arrays[name], stored.dtype).tobytes() == stored.raw.tobytes(), name


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("mapped", [False, True])
def test_the_loader_gives_back_every_tensor(
    every_dtype_table: Path, content: Content, mapped: bool, threads: int
):
    loader = WeightLoader(every_dtype_table, mapped=mapped, threads=threads)
    assert loader.is_mapped == mapped
    assert loader.keys() == list(content.tensors)
    tensors = loader.load_weights()
    assert list(tensors) == list(content.tensors)
    for name, stored in content.tensors.items():
        tensor = tensors[name]
        assert tensor.dtype == TORCH_DTYPE.get(stored.dtype) or stored.dtype in str(tensor.dtype)
        assert tuple(tensor.shape) == stored.shape
        assert tensor_bytes(tensor) == expected_bytes(stored), name


@pytest.mark.parametrize("mapped", [False, True])
def test_tensors_come_one_at_a_time_and_in_the_order_asked(
    every_dtype_table: Path, content: Content, mapped: bool
):
    loader = WeightLoader(every_dtype_table, mapped=mapped)
    wanted = ["int4.odd", "float32.bias", "int8.weight"]
    assert list(loader.load_weights(wanted)) == wanted
    assert loader.load_weights([]) == {}
    one = loader.get_tensor("int32.ids")
    assert tensor_bytes(one) == content.tensors["int32.ids"].raw.tobytes()


@pytest.mark.parametrize("mapped", [False, True])
def test_an_unknown_tensor_is_named(every_dtype_table: Path, mapped: bool):
    loader = WeightLoader(every_dtype_table, mapped=mapped)
    with pytest.raises(TensorNotFoundError, match=r"every\.parquet has no tensor 'nothing'"):
        loader.get_tensor("nothing")


def test_attached_files_come_back(every_dtype_table: Path, content: Content):
    table = WeightTable(every_dtype_table)
    sizes = [len(held) for _, held in content.files.values()]
    assert min(sizes) == 0
    assert max(sizes) > 1 << 20
    for name, (role, held) in content.files.items():
        assert table.read_file(name) == held
        assert next(f.role for f in table.manifest.files if f.name == name) is role


def test_an_unknown_file_is_named_beside_those_there_are(every_dtype_table: Path):
    with pytest.raises(TensorNotFoundError, match=r"no attached file 'vocab\.txt', only .*token"):
        WeightTable(every_dtype_table).read_file("vocab.txt")


def test_names_of_source_and_dtype_are_kept(every_dtype_table: Path, content: Content):
    for name, stored in content.tensors.items():
        entry = WeightTable(every_dtype_table).entry(name)
        assert (entry.source, entry.source_dtype) == (f"source.{name}", stored.dtype)
        assert entry.quantization == stored.quantization


@pytest.mark.parametrize("mapped", [False, True])
def test_a_tensor_of_many_pages(tmp_path: Path, mapped: bool):
    values = np.random.default_rng(5).integers(0, 2**32, 3 * PAGE_BYTES // 4 + 1, np.uint32)
    many = Content({"many": of_values("float32", values.view(np.float32))}, {})
    many.write(tmp_path / "many.parquet")
    tensor = WeightLoader(tmp_path / "many.parquet", mapped=mapped).get_tensor("many")
    assert tensor_bytes(tensor) == values.tobytes()


@pytest.mark.parametrize("dtype", list(STORAGE))
@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257])
def test_every_dtype_at_small_sizes(tmp_path: Path, dtype: str, count: int):
    stored = random_bits(np.random.default_rng(count), dtype, count)
    path = tmp_path / "small.parquet"
    Content({"a": stored}, {}).write(path)
    assert tensor_bytes(WeightLoader(path).get_tensor("a")) == expected_bytes(stored)
    assert tensor_bytes(WeightLoader(path, mapped=True).get_tensor("a")) == expected_bytes(stored)


def test_a_table_verifies_itself(every_dtype_table: Path):
    WeightTable(every_dtype_table).verify_all()
    WeightLoader(every_dtype_table, mapped=True).verify()


def test_a_table_without_the_arrow_schema_that_pyarrow_adds(
    content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Other writers leave it out; the columns are the same."""
    plain = functools.partial(pq.ParquetWriter, store_schema=False)
    monkeypatch.setattr(writer.pq, "ParquetWriter", plain)
    content.write(tmp_path / "plain.parquet")
    assert b"ARROW:schema" not in (pq.read_metadata(tmp_path / "plain.parquet").metadata or {})
    loader = WeightLoader(tmp_path / "plain.parquet")
    loader.verify()
    for name, tensor in loader.load_weights().items():
        assert tensor_bytes(tensor) == expected_bytes(content.tensors[name])
