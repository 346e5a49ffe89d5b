"""A tensor's memory is Arrow's buffer or the mapped file; nothing was copied on the way."""

from pathlib import Path

import pyarrow as pa
import pytest

from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.mapping import mapped_path
from tests.weights.weight_tables import Content

UNPACKED = "int4"  # the one dtype that has no torch type of its own


def in_place(content: Content) -> list[str]:
    return [name for name, stored in content.tensors.items() if stored.dtype != UNPACKED]


def mapping(path: Path) -> range:
    """Addresses at which this process has ``path`` mapped."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(f" {path}"):
            start, stop = line.split(maxsplit=1)[0].split("-")
            return range(int(start, 16), int(stop, 16))
    raise AssertionError(f"{path} is not mapped")


def test_decoded_tensors_lie_in_arrows_buffers(
    every_dtype_table: Path, content: Content, monkeypatch: pytest.MonkeyPatch
):
    loader = WeightLoader(every_dtype_table)
    read, arrays = loader.table.read_tensors, dict[str, pa.Array]()

    def recorded(names: list[str], *, threads: int) -> dict[str, pa.Array]:
        arrays.update(read(names, threads=threads))
        return arrays

    monkeypatch.setattr(loader.table, "read_tensors", recorded)
    tensors = loader.load_weights(in_place(content))
    for name, tensor in tensors.items():
        buffer = arrays[name].buffers()[1]
        first, last = buffer.address, buffer.address + buffer.size
        assert first <= tensor.data_ptr() < tensor.data_ptr() + tensor.nbytes <= last, name


def test_mapped_tensors_lie_in_the_mapped_file(every_dtype_table: Path, content: Content):
    loader = WeightLoader(every_dtype_table, mapped=True)
    place = mapping(mapped_path(loader.table))
    for name, tensor in loader.load_weights(in_place(content)).items():
        assert tensor.data_ptr() in place, name
        assert tensor.data_ptr() + tensor.nbytes - 1 in place, name


def test_decoded_memory_outlives_the_loader_and_goes_with_the_last_tensor(
    every_dtype_table: Path, content: Content
):
    before = pa.total_allocated_bytes()
    tensor = WeightLoader(every_dtype_table).get_tensor("float32.weight")
    assert pa.total_allocated_bytes() >= before + tensor.nbytes
    assert tensor.numpy().tobytes() == content.tensors["float32.weight"].raw.tobytes()
    del tensor
    assert pa.total_allocated_bytes() == before


def test_mapped_memory_outlives_the_loader(every_dtype_table: Path, content: Content):
    tensor = WeightLoader(every_dtype_table, mapped=True).get_tensor("float32.weight")
    assert tensor.numpy().tobytes() == content.tensors["float32.weight"].raw.tobytes()
