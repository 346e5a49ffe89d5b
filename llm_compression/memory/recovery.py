"""recover: saves the rows of a storage whose manifest is damaged or lost."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llm_compression.errors import InputError, SpecError, StorageNotFoundError
from llm_compression.files.paths import user_path
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.modalities import MODALITIES
from llm_compression.memory.storage.dataset import Dataset
from llm_compression.memory.storage.fragment import IDENTITY_KEY
from llm_compression.memory.storage.layout import schema
from llm_compression.memory.storage.manifest import DATA, DELETED
from llm_compression.memory.storage.rows import Rows
from llm_compression.memory.storage.snapshot import DamagedFragmentWarning
from llm_compression.spec import codec


def recover(path: str | Path, target: str | Path) -> dict[str, int]:
    """Store what the intact files of a storage hold in a new one, and say how many rows of each.

    Without the manifest nobody knows which files the last version had, so what was being stored or
    deleted at that moment may be there or not, and rows whose list of deletions is damaged come
    back. Of rows with one id the one in the youngest file counts. Damaged files are left out with
    a `DamagedFragmentWarning`; the files themselves stay as they are.

    Args:
        path: the folder of a `MultimodalStorage`.
        target: the new one's, in which nothing is stored yet.

    Raises:
        StorageNotFoundError: there are no files of rows in ``path``.
        InputError: something is stored in ``target``.
    """
    old, new = user_path(path), user_path(target)
    files = {name: _by_age(old / name / DATA) for name in MODALITIES}
    if not any(files.values()):
        raise StorageNotFoundError(f"no files of rows in {old}; check the path")
    if any((new / name).exists() for name in MODALITIES):
        raise InputError(f"{new} holds a storage already; choose another place")
    return {name: _recover(old / name, new / name, of) for name, of in files.items() if of}


def _recover(old: Path, new: Path, files: list[Path]) -> int:
    dataset = Dataset(new, new.name, several_models=True)
    for file in files:
        for rows in _intact(old, file):
            dataset.append(rows, replace_same=True)
    return len(dataset.snapshot())


def _by_age(folder: Path, pattern: str = "*.parquet") -> list[Path]:
    return sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)


def _intact(folder: Path, file: Path) -> Iterator[Rows]:
    """The rows of a file that are not deleted, if it is intact."""
    try:
        table = pq.ParquetFile(file, page_checksum_verification=True).read()
        content = (table.schema.metadata or {})[IDENTITY_KEY].decode()
        identity = codec.loads(VectorIdentity, content, str(file))
        dtype = table["dtype"][0].as_py()
        fields = schema(folder.name, identity.dimension, dtype)
        live = np.delete(np.arange(len(table)), _dead(folder, file.stem))
        yield Rows(table.take(pa.array(live)).cast(fields), identity, dtype)
    except (OSError, pa.ArrowException, SpecError, KeyError, ValueError, IndexError) as error:
        warnings.warn(f"{file} is left out: {error}", DamagedFragmentWarning, stacklevel=4)


def _dead(folder: Path, stem: str) -> np.ndarray:
    """The rows of a fragment that its youngest intact list says are deleted."""
    lists = reversed(_by_age(folder / DELETED, f"{stem}-*.parquet"))
    return next((rows for rows in map(_listed, lists) if rows is not None), _NONE)


_NONE = np.empty(0, np.int64)


def _listed(path: Path) -> np.ndarray | None:
    try:
        rows: np.ndarray = pq.ParquetFile(path).read()["row"].to_numpy().astype(np.int64)
    except (OSError, pa.ArrowException, KeyError) as error:
        warnings.warn(f"{path} is left out: {error}", DamagedFragmentWarning, stacklevel=7)
        return None
    return rows
