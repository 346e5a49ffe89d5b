"""From an id or a path to a weight table on this machine, converted once where needed."""

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from llm_compression.errors import CheckpointNotFoundError, InputError
from llm_compression.files.atomic import atomic_write, output_errors
from llm_compression.files.paths import cache_folder, user_path
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import FORMAT_VERSION, MODEL_FILE

_STALE_SECONDS = 7 * 24 * 3600
if TYPE_CHECKING:
    from llm_compression.conversion.convert import Progress


class StaleModelWarning(UserWarning):
    """A weight table is older than the checkpoint that it lies in."""


def locate(
    id_or_path: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    progress: "Progress | None" = None,
) -> Path:
    """The weight table of a model.

    A file is taken as it is, a folder by the ``model.parquet`` in it. A checkpoint, in a local
    folder or on the hub, is converted into the cache once for each state of its files. A path
    that exists never touches the network. ``cache_dir`` is the hub's download cache.

    Raises:
        CheckpointNotFoundError: nothing of that name here or on the hub.
        ConversionError: the checkpoint cannot be converted.
    """
    # who opens a weight table pays for no converter
    from llm_compression.conversion.convert import convert_once
    from llm_compression.conversion.hub import is_hub_id, resolve

    path = user_path(id_or_path)
    if path.is_file():
        return path
    if (path / MODEL_FILE).is_file():
        _warn_of_newer(path)
        return path / MODEL_FILE
    if not path.is_dir() and not is_hub_id(id_or_path):
        raise CheckpointNotFoundError(
            f"nothing at {path}; give a weight table (.parquet), a checkpoint folder, or a hub id "
            "such as sentence-transformers/all-MiniLM-L6-v2"
        )
    source = resolve(
        id_or_path,
        revision=revision,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        token=token,
    )
    target = _converted(source.folder, source.revision, source.name)
    if not target.is_file():
        convert_once(source, target, progress)
        if source.revision is None:
            _drop_stale(target)
    return target


def _converted(folder: Path, revision: str | None, name: str) -> Path:
    if revision is None:  # a local folder: its place, and the state of its files
        place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        name, revision = f"{name}-{place}", _state(folder)
    safe = name.replace("/", "--")
    return cache_folder() / "models" / safe / f"{revision}-v{FORMAT_VERSION}.parquet"


def _state(folder: Path) -> str:
    return hashlib.sha256(json.dumps(sorted(_stats(folder))).encode()).hexdigest()[:16]


def _stats(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    for path in folder.rglob("*"):
        if path.is_file():  # archives often restore one time for all files, but never the ctime
            stat = path.stat()
            name = str(path.relative_to(folder))
            yield name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _drop_stale(target: Path) -> None:
    """Remove what was made long ago of an earlier state; of a younger one an engine may live."""
    for other in target.parent.glob("*.parquet"):
        if other != target and time.time() - other.stat().st_mtime > _STALE_SECONDS:
            other.unlink(missing_ok=True)


def _warn_of_newer(folder: Path) -> None:
    model = (folder / MODEL_FILE).stat().st_mtime
    weights = [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]
    if newer := [path.name for path in weights if path.stat().st_mtime > model]:
        warnings.warn(
            f"{folder / MODEL_FILE} is older than {newer[0]} beside it; convert again, or delete "
            "it, if the weights have changed",
            StaleModelWarning,
            stacklevel=4,
        )


def save(model: Path, fingerprint: str, target: Path) -> Path:
    """Copy a weight table to ``target``, folders made, unless it is that file already.

    Raises:
        InputError: another model has taken its place.
        CorruptWeightTableError: its bytes are not those that were written.
        OutputError: the folder cannot be made or written to.
    """
    table = WeightTable(model)
    if table.fingerprint != fingerprint:
        raise InputError(f"{model} holds another model than when it was opened; open it again")
    table.check_ranges([*table.manifest.tensors, *table.manifest.files])
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.exists() and target.samefile(model)):
            with atomic_write(target) as draft:
                shutil.copyfile(model, draft.path)
    return target
