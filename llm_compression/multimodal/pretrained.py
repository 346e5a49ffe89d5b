"""Pretrained: how every engine and encoder is opened, saved and pickled."""

from pathlib import Path
from typing import Any, TypeVar

import torch

from llm_compression.errors import InputError
from llm_compression.files.paths import user_path
from llm_compression.inference.compute import Compute
from llm_compression.inference.device import check_compute_dtype, device_of
from llm_compression.multimodal.inputs import check_flags
from llm_compression.multimodal.open import locate, save
from llm_compression.spec.model import ModelSpec
from llm_compression.weights.loader import Meanwhile, WeightLoader
from llm_compression.weights.schema import MODEL_FILE

P = TypeVar("P", bound="Pretrained")
ModelPath = str | Path | WeightLoader
Device = str | torch.device


class Pretrained:
    """An open weight table and the options it was opened with.

    Args:
        model_path: a weight table, a folder with ``model.parquet``, or one that is open already.
        mapped: open the memory-mapped copy, made on first use; otherwise decode the Parquet file.
        verify: check every weight against its checksum, decoded or mapped.
        packed: on the CPU, copy weights on first use into the order in which it reads them.
        compute_dtype: what the core computes in.
        device: where it computes.
        meanwhile: as `WeightLoader` takes it.
        options: those of the class, kept for pickling.

    Raises:
        WeightTableError: a kind that says what is wrong with the file.
        InputError: a device that is not here, or that does not compute in this type; a flag that
            is neither True nor False.
    """

    def __init__(
        self,
        model_path: ModelPath,
        *,
        mapped: bool,
        verify: bool,
        packed: bool,
        compute_dtype: str,
        device: Device,
        meanwhile: Meanwhile = lambda _table, _copy: None,
        **options: Any,
    ) -> None:
        check_flags(mapped=mapped, verify=verify, packed=packed)
        self._options = {
            "mapped": mapped,
            "verify": verify,
            "packed": packed,
            "compute_dtype": compute_dtype,
            "device": str(device),
            **options,
        }
        self.device = device_of(device)
        self.compute_dtype = compute_dtype
        check_compute_dtype(compute_dtype, self.device.type)
        if isinstance(model_path, WeightLoader):
            self._loader = model_path
            meanwhile(model_path.table, model_path.mapped_copy)
        else:
            self._loader = WeightLoader(
                model_path, mapped=mapped, verify=verify, meanwhile=meanwhile
            )
        self.path = self._loader.table.path.absolute()
        self.fingerprint = self._loader.fingerprint
        self._compute = Compute(
            compute_dtype, packed, release=self._loader.release, device=self.device
        )

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self._loader.spec

    @classmethod
    def from_pretrained(
        cls: type[P],
        id_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **options: Any,
    ) -> P:
        """Open a weight table, a checkpoint folder or a hub id; checkpoints convert once.

        A local path never touches the network. ``revision``, ``cache_dir``, ``local_files_only``
        and ``token`` are huggingface_hub's; ``options`` are the constructor's.

        Raises:
            CheckpointNotFoundError: nothing of that name here or on the hub.
            ConversionError: the checkpoint cannot be converted.
        """
        path = locate(
            id_or_path,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
        )
        return cls(path, **options)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Copy the weight table to ``folder/model.parquet`` and return that path.

        Raises:
            OutputError: the folder cannot be made or written to.
            WeightTableError: the table was damaged or replaced since it was opened.
        """
        return save(self.path, self.fingerprint, user_path(folder) / MODEL_FILE)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {self.spec.dimension} dimensions)"

    def __reduce__(self) -> tuple[object, ...]:
        # the path, not the weights: each process maps the same pages
        return _reopen, (type(self), self.path, self.fingerprint, self._options)


def _reopen(kind: type[P], path: Path, fingerprint: str, options: dict[str, Any]) -> P:
    opened = kind(path, **options)
    if opened.fingerprint != fingerprint:
        raise InputError(f"{path} holds another model than when it was pickled")
    return opened
