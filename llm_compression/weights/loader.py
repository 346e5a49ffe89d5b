"""WeightLoader: a weight table as torch tensors that share Arrow's memory."""

import ctypes
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from llm_compression.cores import cores
from llm_compression.errors import TensorNotFoundError
from llm_compression.once import Once
from llm_compression.spec.model import ModelSpec
from llm_compression.weights.mapped import MappedCopy, MappedTensor
from llm_compression.weights.mapping import mapped_paths, open_mapped
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.readonly import read_only
from llm_compression.weights.schema import STORAGE, Quantization

if TYPE_CHECKING:
    import pyarrow as pa

_TORCH = {name: getattr(torch, name) for name in STORAGE if name != "int4"}


class MappedCopyWarning(UserWarning):
    """The mapped copy could not be written, so the tensors were decoded from Parquet."""


Meanwhile = Callable[[WeightTable, MappedCopy | None], None]


class WeightLoader:
    """Opens a weight table and hands out its tensors without a copy.

    A tensor's memory is the Arrow buffer: decoded pages, or with ``mapped=True`` the mapped
    copy, which is made on first use beside the model if it is already there, else in the cache
    folder. Tensors are read-only: an operation that would write to one raises ``RuntimeError``
    (see `ReadOnlyTensor`), and the mapping is private, so the file cannot change at all.

    Args:
        path: the Parquet file, or a folder with ``model.parquet``.
        mapped: read from the memory-mapped copy.
        verify: check the stored bytes of each tensor before decoding it; of a mapped copy compare
            all values with their checksums once, when it is opened. Without it opening still
            checks every byte of the copy but the values.
        threads: decoding threads; by default one for each core this process may use.
        meanwhile: called once with the open table and the copy, if there is one, while values are
            checked where that can be.

    Raises:
        WeightTableError: a kind that says what is wrong with the file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mapped: bool = False,
        verify: bool = True,
        threads: int | None = None,
        meanwhile: Meanwhile = lambda _table, _copy: None,
    ) -> None:
        self.table = WeightTable(path, verify=verify)
        self._threads = threads or cores()
        self._mapped: MappedCopy | None = None
        other = Once(lambda: meanwhile(self.table, self._mapped))
        if mapped:
            self._mapped = self._map(verify, other)
        other()

    @property
    def spec(self) -> ModelSpec:
        """The model that the tensors belong to."""
        return self.table.manifest.spec

    @property
    def fingerprint(self) -> str:
        """The model's name for ever, 64 hex digits."""
        return self.table.fingerprint

    @property
    def mapped_copy(self) -> MappedCopy | None:
        """The memory-mapped copy, where tensors come from it."""
        return self._mapped

    @property
    def is_mapped(self) -> bool:
        """Whether tensors come from the memory-mapped copy."""
        return self._mapped is not None

    def keys(self) -> list[str]:
        """Canonical names of the tensors, in file order."""
        if self._mapped:
            return list(self._mapped.tensors)
        return [entry.name for entry in self.table.manifest.tensors]

    def get_tensor(self, name: str) -> torch.Tensor:
        """One tensor in its stored dtype and shape; int4 is unpacked to int8.

        Raises:
            TensorNotFoundError: no such tensor.
            CorruptWeightTableError: its stored bytes are damaged.
        """
        return self.load_weights([name])[name]

    def load_weights(self, names: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
        """The named tensors, by default all; raises as `get_tensor` does."""
        names = [names] if isinstance(names, str) else names
        wanted = self.keys() if names is None else list(names)
        if self._mapped:
            return self._from_mapped(self._mapped, wanted)
        entries = {name: self.table.entry(name) for name in wanted}
        arrays = self.table.read_tensors(wanted, threads=self._threads)
        return {n: _view(arrays[n], e.dtype, e.shape) for n, e in entries.items()}

    def release(self) -> None:
        """Let the memory of mapped values go; whoever touches one again reads it from the file."""
        if self._mapped:
            self._mapped.release()

    def dequantize(self, name: str) -> torch.Tensor:
        """A quantised tensor as float32, ``(stored - zero_point) * scale``; others are cast."""
        entry = self.table.entry(name)
        values = self.get_tensor(name)
        if entry.quantization is None:
            return values.to(torch.float32)
        return self._scaled(entry.quantization, values.to(torch.float32)).reshape(entry.shape)

    def verify(self) -> None:
        """Check every byte: stored ranges, the values' SHA-256, attached files, the mapped copy.

        Raises:
            CorruptWeightTableError: the first damage found.
        """
        self.table.verify_all()
        if self._mapped:
            self._mapped.verify(self.table)

    def _map(self, check_values: bool, other: Once[None]) -> MappedCopy | None:  # noqa: FBT001
        def meanwhile(copy: MappedCopy) -> None:
            self._mapped = copy
            with suppress(Exception):  # raised again when all is open
                other()

        for path in mapped_paths(self.table):
            try:
                return open_mapped(self.table, path, check_values=check_values, meanwhile=meanwhile)
            except OSError as error:  # noqa: PERF203  two places at most
                said = f"cannot write the mapped copy {path} ({error.strerror or error})"
        warnings.warn(
            f"{said}; decoding the Parquet file instead. Set LLM_COMPRESSION_CACHE to a folder "
            "that can be written to, or pass mapped=False.",
            MappedCopyWarning,
            stacklevel=3,
        )
        return None

    def _from_mapped(self, copy: MappedCopy, names: list[str]) -> dict[str, torch.Tensor]:
        missing = [name for name in names if name not in copy.tensors]
        if missing:
            raise TensorNotFoundError(f"{self.table.path} has no tensor {missing[0]!r}")
        whole = {dtype: _whole(copy, dtype) for dtype in copy.dtypes}
        return {name: read_only(_placed(whole, copy.tensors[name])) for name in names}

    def _scaled(self, by: Quantization, values: torch.Tensor) -> torch.Tensor:
        shape = (*values.shape[: by.axis], -1, by.group_size, *values.shape[by.axis + 1 :])
        groups = values.reshape(shape)
        if by.zero_point is not None:
            groups = groups - self.get_tensor(by.zero_point).unsqueeze(by.axis + 1)
        return groups * self.get_tensor(by.scale).to(torch.float32).unsqueeze(by.axis + 1)


def _whole(copy: MappedCopy, dtype: str) -> torch.Tensor:
    """The whole file seen as one tensor of ``dtype``."""
    kind = _TORCH.get(dtype, torch.uint8)
    return torch.frombuffer(copy.bytes, dtype=kind, count=len(copy.bytes) // kind.itemsize)


def _placed(whole: Mapping[str, torch.Tensor], tensor: MappedTensor) -> torch.Tensor:
    # Arrow aligns every batch to 64 bytes, so a tensor starts at a whole element; one strided
    # view costs a third of slice, view and reshape.
    memory = whole[tensor.dtype]
    if tensor.dtype == "int4":
        return _unpack_int4(memory[tensor.start :][: tensor.nbytes], tensor.shape)
    strides = [math.prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape))]
    return memory.as_strided(tensor.shape, strides, tensor.start // memory.itemsize)


def _view(array: "pa.Array", dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    row_bytes = STORAGE[dtype].row_bytes
    buffer = array.buffers()[1]
    memory = (ctypes.c_uint8 * (len(array) * row_bytes)).from_address(
        buffer.address + array.offset * row_bytes
    )
    # frombuffer keeps `memory` alive, and through this attribute Arrow's buffer; torch warns
    # when it is given the read-only buffer itself.
    memory.owner = buffer  # type: ignore[attr-defined]
    flat = torch.frombuffer(memory, dtype=_TORCH.get(dtype, torch.uint8))
    return read_only(_unpack_int4(flat, shape) if dtype == "int4" else flat.view(shape))


def _unpack_int4(raw: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    # Low nibble first; shifting an int8 right keeps the sign of the high one.
    signed = raw.view(torch.int8)
    pairs = torch.stack([torch.bitwise_left_shift(signed, 4) >> 4, signed >> 4], dim=-1)
    return pairs.flatten()[: torch.Size(shape).numel()].view(shape)
