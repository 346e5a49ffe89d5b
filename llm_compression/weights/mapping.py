"""The mapped copy of a weight table: where it is, made once and by one process at a time."""

from collections.abc import Callable
from pathlib import Path

from llm_compression.errors import OutputError, WeightTableError
from llm_compression.files.atomic import atomic_write
from llm_compression.files.paths import cache_folder
from llm_compression.weights.mapped import MappedCopy, key
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.table_file import open_at_once

SUFFIX = ".arrow"
_HEADER_BYTES = 4 << 20  # more than the schema message of any model takes


def beside(table: WeightTable) -> Path:
    """The place of a copy that stands next to its model: ``MODEL.parquet.arrow``."""
    return table.path.with_name(table.path.name + SUFFIX)


def mapped_paths(table: WeightTable) -> list[Path]:
    """Where a copy is opened: next to the model if one stands there, else in the cache folder.

    One that is stale may stand where it cannot be written over, so the folder comes second then.
    """
    cached = cache_folder() / "mapped" / f"{table.fingerprint}{SUFFIX}"
    return [beside(table), cached] if _is_ours(beside(table)) else [cached]


def mapped_path(table: WeightTable) -> Path:
    """The first of these places."""
    return mapped_paths(table)[0]


def open_mapped(
    table: WeightTable,
    path: Path,
    *,
    check_values: bool = False,
    meanwhile: Callable[[MappedCopy], None] = lambda _copy: None,
) -> MappedCopy:
    """The mapped copy of ``table`` at ``path``; made first if absent, stale or damaged.

    Damage of the values themselves is looked for only with ``check_values``, and ``meanwhile`` may
    then be called with the copy, which must raise nothing. Safe when several processes ask at
    once: one makes it, the others wait.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
        OutputError: a file that is no mapped copy stands in its place.
        CorruptWeightTableError: the weight table itself is damaged.
    """
    if found := _existing(table, path, check_values=check_values, meanwhile=meanwhile):
        return found
    from llm_compression.weights.mapped_writer import write_copy  # loads pyarrow

    foreign = path == beside(table) and path.exists() and not _is_ours(path)
    device = path.exists() and not (path.is_file() or path.is_dir())
    if foreign or device:  # to which a file would be written, not put in its place
        raise OutputError(f"{path} is no mapped copy, so it is left as it is; move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, wait=True) as draft:
        if found := _existing(table, path, check_values=check_values):
            draft.keep = False
            return found
        write_copy(table, draft.path)
        MappedCopy(draft.path, table.fingerprint).verify(table)
    return MappedCopy(path, table.fingerprint)


def _existing(
    table: WeightTable,
    path: Path,
    *,
    check_values: bool,
    meanwhile: Callable[[MappedCopy], None] = lambda _copy: None,
) -> MappedCopy | None:
    try:
        if not path.exists():
            return None
        found = MappedCopy(path, table.fingerprint)
        found.check_index(table)
        if check_values:
            found.check_values(meanwhile)
    except WeightTableError:
        return None
    return found


def _is_ours(path: Path) -> bool:
    """Whether a file was made here, stale and damaged ones included: its header says so."""
    try:
        with open(path, "rb", opener=open_at_once) as file:
            return key("seal") in file.read(_HEADER_BYTES)
    except OSError:
        return False
