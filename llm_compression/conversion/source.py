"""Checkpoint: the files of a Hugging Face folder, tensors read one at a time."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from llm_compression.errors import CheckpointError, CheckpointNotFoundError
from llm_compression.spec.tensors import Shape
from llm_compression.weights.schema import SourceFile

_RELEASE_BYTES = 64 << 20
_LAYOUTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


_SAFETENSORS = {
    "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I8": "int8",
    "F64": "float64", "I16": "int16", "U8": "uint8", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """What a checkpoint says of one tensor."""

    shape: Shape
    dtype: str


def dtype_name(dtype: torch.dtype) -> str:
    """``torch.float32`` as ``float32``."""
    return str(dtype).removeprefix("torch.")


class Checkpoint:
    """A local checkpoint folder: safetensors or ``pytorch_model.bin``, single or sharded.

    Raises:
        CheckpointNotFoundError: no such folder, or no weights or ``config.json`` in it.
        CheckpointError: a file is unreadable or a shard is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise CheckpointNotFoundError(
                f"no checkpoint folder at {folder}; give a folder with config.json and "
                "model.safetensors, or a hub id such as sentence-transformers/all-MiniLM-L6-v2"
            )
        self.config = read_json_object(folder / "config.json")
        self._shard_of = self._locate()
        self.shards = [folder / name for name in sorted(set(self._shard_of.values()))]
        self._open: tuple[str, Any] | None = None
        self._touched = 0

    def has(self, name: str) -> bool:
        """Whether the folder holds this file."""
        return (self.folder / name).is_file()

    def tensors(self) -> dict[str, TensorInfo]:
        """Name, shape and dtype of every tensor, without reading values."""
        return {name: self._info(name) for name in sorted(self._shard_of)}

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor; pages read so far are let go of every 64 MiB."""
        handle = self._handle(self._shard_of[name])
        try:
            tensor: torch.Tensor = (
                handle[name] if isinstance(handle, Mapping) else handle.get_tensor(name)
            )
        except SafetensorError as error:
            raise CheckpointError(f"{self.folder}: tensor {name} is unreadable: {error}") from error
        self._touched += tensor.nbytes
        if self._touched > _RELEASE_BYTES:
            self._open, self._touched = None, 0
        return tensor.detach().contiguous()

    def source_files(self, inside: Path) -> tuple[SourceFile, ...]:
        """The weight files under their names below ``inside``, with their SHA-256."""
        return tuple(SourceFile(str(inside / s.name), _sha256(s)) for s in self.shards)

    def _info(self, name: str) -> TensorInfo:
        handle = self._handle(self._shard_of[name])
        if isinstance(handle, Mapping):
            return TensorInfo(tuple(handle[name].shape), dtype_name(handle[name].dtype))
        part = handle.get_slice(name)
        return TensorInfo(
            tuple(part.get_shape()), _SAFETENSORS.get(part.get_dtype(), part.get_dtype())
        )

    def _handle(self, shard: str) -> Any:
        if self._open is None or self._open[0] != shard:
            self._open = shard, _open_shard(self.folder / shard)
        return self._open[1]

    def _locate(self) -> dict[str, str]:
        for single, index in _LAYOUTS:
            if self.has(single):
                self._open = single, _open_shard(self.folder / single)
                return dict.fromkeys(self._open[1].keys(), single)
            if self.has(index):
                return self._locate_shards(index)
        raise CheckpointNotFoundError(
            f"{self.folder} has no weights; expected one of "
            f"{', '.join(name for pair in _LAYOUTS for name in pair)}"
        )

    def _locate_shards(self, index: str) -> dict[str, str]:
        table = read_json_object(self.folder / index).get("weight_map")
        if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
            raise CheckpointError(f"{self.folder / index} has no weight_map of names to files")
        present: dict[str, str] = {}
        for shard in sorted(set(table.values())):
            if Path(shard).name != shard or not self.has(shard):
                raise CheckpointError(f"{self.folder / index} names {shard!r}, which is not there")
            for name in list(_open_shard(self.folder / shard).keys()):
                if name in present:
                    raise CheckpointError(f"tensor {name} is in both {present[name]} and {shard}")
                present[name] = shard
        if absent := sorted(set(table) - set(present)):
            raise CheckpointError(
                f"{self.folder / index} names tensors that no shard has: {absent}"
            )
        return present


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a checkpoint; raises as `read_json` does."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return value


def read_json(path: Path) -> Any:
    """A JSON value from a file of a checkpoint.

    Raises:
        CheckpointNotFoundError: the file is absent.
        CheckpointError: it is not JSON.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False).encode()  # an escaped lone surrogate is no text
        return value
    except FileNotFoundError:
        raise CheckpointNotFoundError(
            f"{path.parent} has no {path.name}; download the whole checkpoint"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from error


def _open_shard(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    return _open_pickle(path)


def _open_safetensors(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error


def _open_pickle(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except Exception as error:  # torch raises many kinds for a bad or unsafe pickle
        raise CheckpointError(f"{path} is not a readable weights-only file: {error}") from error
    if not isinstance(state, dict) or not all(map(_is_entry, state.keys(), state.values())):
        raise CheckpointError(f"{path} is not a state dict of tensors")
    return state


def _is_entry(name: object, tensor: object) -> bool:
    if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
        return False
    return tensor.layout == torch.strided and not tensor.is_meta


def _is_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"PK"  # files before torch 1.6 are bare pickles and cannot be mapped


def _sha256(path: Path) -> str:
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()
