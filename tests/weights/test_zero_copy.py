"""A tensor's memory is Arrow's buffer or the mapped file, and it refuses to be written."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from weight_tables import Content, tensor_bytes

from llm_compression.weights.loader import WeightLoader, mapped_path

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


@pytest.mark.parametrize("mapped", [False, True])
def test_writing_to_a_tensor_raises(every_dtype_table: Path, content: Content, mapped: bool):
    loader = WeightLoader(every_dtype_table, mapped=mapped)
    for name in content.tensors:
        tensor = loader.get_tensor(name)
        with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
            tensor.zero_()
        with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
            tensor.reshape(-1)[0] = 1


@pytest.mark.parametrize("mapped", [False, True])
def test_no_write_reaches_another_loader(every_dtype_table: Path, content: Content, mapped: bool):
    with torch.inference_mode():  # the one place where torch lets inference tensors be written
        WeightLoader(every_dtype_table, mapped=mapped).get_tensor("int8.weight").fill_(7)
    tensor = WeightLoader(every_dtype_table, mapped=mapped).get_tensor("int8.weight")
    assert tensor_bytes(tensor) == content.tensors["int8.weight"].raw.tobytes()


def test_no_write_reaches_the_mapped_file(every_dtype_table: Path):
    loader = WeightLoader(every_dtype_table, mapped=True)
    path = mapped_path(loader.table)
    before = path.read_bytes()
    with torch.inference_mode():
        loader.get_tensor("float32.bias").fill_(7)
    loader.get_tensor("int8.weight").numpy()[:] = 1
    assert path.read_bytes() == before
    WeightLoader(every_dtype_table, mapped=True).verify()
