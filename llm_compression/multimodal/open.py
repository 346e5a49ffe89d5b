"""From an id or a path to a weight table on this machine, converted once where needed."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from llm_compression.conversion.convert import Progress, convert
from llm_compression.conversion.hub import is_hub_id, resolve
from llm_compression.errors import CheckpointNotFoundError, InputError, WeightTableNotFoundError
from llm_compression.files.atomic import atomic_write, output_errors
from llm_compression.files.paths import cache_folder, user_path
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import FORMAT_VERSION

MODEL_FILE = "model.parquet"


def locate(
    id_or_path: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    progress: Progress | None = None,
) -> Path:
    """The weight table of a model.

    A file is taken as it is, a folder by the ``model.parquet`` in it. A checkpoint, in a local
    folder or on the hub, is converted into the cache once for each state of its files. A path
    that exists never touches the network. ``cache_dir`` is the hub's download cache.

    Raises:
        CheckpointNotFoundError: nothing of that name here or on the hub.
        ConversionError: the checkpoint cannot be converted.
    """
    path = user_path(id_or_path)
    if path.is_file():
        return path
    if (path / MODEL_FILE).is_file():
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
        with output_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        convert(source.folder, target, origin=source, wait=True, progress=progress)
        if source.revision is None:  # an earlier state of a local folder is of no use any more
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


def _stats(folder: Path) -> Iterator[tuple[str, int, int]]:
    for path in folder.rglob("*"):
        if path.is_file():
            stat = path.stat()
            yield str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns


def _drop_stale(target: Path) -> None:
    for other in target.parent.glob("*.parquet"):
        if other != target:
            other.unlink(missing_ok=True)


def table_at(model_path: str | Path) -> Path:
    """The weight table that ``model_path`` names: the file, or ``model.parquet`` in the folder.

    Raises:
        WeightTableNotFoundError: the folder is a checkpoint that was not converted.
    """
    path = user_path(model_path)
    if not path.is_dir():
        return path
    if not (path / MODEL_FILE).exists() and (path / "config.json").exists():
        raise WeightTableNotFoundError(
            f"{path} is a checkpoint, not a weight table; `from_pretrained` opens it, and "
            "`llm-compression convert` makes a weight table of it"
        )
    return path / MODEL_FILE


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
