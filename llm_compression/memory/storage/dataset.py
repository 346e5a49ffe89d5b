"""Dataset: the rows of one modality; every change is one atomic step of its manifest.

A writer holds the lock file from reading the manifest to replacing it. It writes and syncs new
files first, then the manifest that names them, so a kill or a loss of power at any moment leaves
the version before or the one after. Files that no manifest names are garbage, which the next step
removes.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from llm_compression.errors import DuplicateIdError, UnknownIdError
from llm_compression.files.atomic import output_errors
from llm_compression.files.durable import durable_folder, locked
from llm_compression.guard import Guard
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.fragment import (
    Fragment,
    FragmentGoneError,
    write_deleted,
    write_fragment,
)
from llm_compression.memory.storage.layout import schema
from llm_compression.memory.storage.manifest import (
    DATA,
    DELETED,
    FragmentEntry,
    Manifest,
    parse,
    read_bytes,
)
from llm_compression.memory.storage.rows import Rows
from llm_compression.memory.storage.snapshot import Snapshot

T = TypeVar("T")
SIDECARS = "search"
COMPACTING = "compacting.lock"
DRAFT = ".tmp"
_LOCK = "writing.lock"
MAX_ROWS = 131_072
_MAX_BYTES = 256 << 20  # of float32 vectors in one fragment, which bounds memory


@dataclass
class Change:
    """What one step does: new fragments, rows that die, fragments that go."""

    added: list[tuple[FragmentEntry, VectorIdentity]] = field(default_factory=list)
    dead: dict[str, np.ndarray] = field(default_factory=dict)  # fragment name -> rows, ascending
    replaced: tuple[str, ...] = ()  # names of fragments in whose place the first of added comes


class Dataset:
    """One modality's rows.

    Args:
        folder: made when the first row is stored.
        modality: a key of `layout.SOURCES`.
        several_models: take rows of another identity than those that are there.
        skip_damaged: leave damaged fragments out with a warning instead of failing.
    """

    def __init__(
        self,
        folder: Path,
        modality: str,
        *,
        several_models: bool = False,
        skip_damaged: bool = False,
    ) -> None:
        self.folder, self.modality = folder, modality
        self._several_models, self._skip_damaged = several_models, skip_damaged
        self._latest: tuple[bytes | None, Snapshot] | None = None
        self._guard = Guard()

    def snapshot(self) -> Snapshot:
        """The version that stands now.

        Raises:
            DamagedStorageError: the manifest is damaged.
        """
        content = read_bytes(self.folder)
        with self._guard.lock:
            if self._latest is None or self._latest[0] != content:
                known = self._latest[1].fragments if self._latest else []
                manifest = parse(content, self.folder, self.modality)
                names = {fragment.path.name: fragment for fragment in known}
                skip = self._skip_damaged
                found = Snapshot(self.folder, manifest, names, skip_damaged=skip)
                self._latest = content, found
            return self._latest[1]

    def reading(self, read: Callable[[Snapshot], T]) -> T:
        """What ``read`` gives for one whole version; again where compaction overtook it.

        Raises:
            DamagedStorageError: a file that the manifest names is not there.
        """
        while True:
            with suppress(FragmentGoneError):
                return read(self.snapshot())

    def append(self, rows: Rows, *, replace_same: bool = False) -> int:
        """Store rows, all or none; they are safe once this returns.

        Raises:
            DuplicateIdError: an id is stored already, and ``replace_same`` is false.
            IdentityMismatchError: the vectors there were made differently.
            DamagedStorageError: which ids are stored cannot be read.
            OutputError: the disk is full, or the folder cannot be written.
        """
        if not len(rows.table):
            return 0
        with self.writing() as snapshot:
            self._check_identity(snapshot, rows.identity)
            found = snapshot.find(rows.table["embedding_id"].to_pylist(), every=True)
            if found and not replace_same:
                raise DuplicateIdError(
                    f"id {next(iter(found))!r} is stored already in {self.folder}; update it, or "
                    "store with replace=True"
                )
            self.commit(snapshot, Change(self._write(rows), _dead(found.values())))
        return len(rows.table)

    def delete(self, ids: Sequence[str], *, missing_ok: bool = False) -> int:
        """Delete rows, all or none, and say how many.

        Raises:
            UnknownIdError: one is not stored, and ``missing_ok`` is false.
            OutputError: the folder cannot be written.
        """
        if not read_bytes(self.folder) and missing_ok:
            return 0
        with self.writing() as snapshot:
            found = self._all(snapshot, ids, missing_ok=missing_ok)
            if found:
                self.commit(snapshot, Change(dead=_dead(found.values())))
        return len(found)

    def update(self, one: str, change: Callable[[pa.Table, VectorIdentity], Rows]) -> None:
        """Put what ``change`` makes of the row of an id in its place, in one step.

        Raises:
            UnknownIdError: it is not stored.
            IdentityMismatchError: the new vector is not made as the old one.
        """
        with self.writing() as snapshot:
            fragment, row = self._all(snapshot, [one], missing_ok=False)[one]
            rows = change(fragment.table(rows=np.array([row])), fragment.identity)
            rows.identity.check(fragment.identity, str(self.folder))
            self.commit(snapshot, Change(self._write(rows), {fragment.path.name: np.array([row])}))

    @contextmanager
    def writing(self) -> Iterator[Snapshot]:
        """Hold the lock, with the version that a step starts from.

        Raises:
            OutputError: the disk is full, or the folder cannot be written.
        """
        with output_errors(self.folder):
            folders = [self.folder / name for name in (DATA, DELETED)]
            if read_bytes(self.folder) is None or not all(map(Path.is_dir, folders)):
                self._found(folders)
            with locked(self.folder / _LOCK):
                yield self.snapshot()

    def _found(self, folders: Iterable[Path]) -> None:
        """Folders, and an empty version before any row: where rows are, there is a manifest."""
        for folder in folders:
            durable_folder(folder)
        with locked(self.folder / _LOCK):
            if read_bytes(self.folder) is None:
                Manifest(self.modality).write(self.folder)

    def commit(self, snapshot: Snapshot, change: Change) -> None:
        """One step, under the lock: the manifest names what changed, then garbage goes."""
        entries: list[tuple[FragmentEntry, VectorIdentity]] = []
        place = 0
        for fragment in snapshot.fragments:
            if fragment.path.name in change.replaced:
                place = len(entries)
                continue
            entry = self.with_dead(fragment, change.dead.get(fragment.path.name))
            if entry.live:
                entries.append((entry, fragment.identity))
        place = place if change.replaced else len(entries)
        entries[place:place] = [(entry, of) for entry, of in change.added if entry.live]
        identities = tuple(dict.fromkeys(identity for _, identity in entries))
        manifest = replace(
            snapshot.manifest,
            step=snapshot.manifest.step + 1,
            identities=identities,
            fragments=tuple(replace(e, identity=identities.index(of)) for e, of in entries),
        )
        manifest.write(self.folder)
        with suppress(OSError):  # the step is done; what cannot go now goes with the next one
            self._sweep(manifest)

    def sweep(self) -> None:
        """Remove what no version names, as what killed writers left.

        Raises:
            OutputError: the folder cannot be written.
        """
        with self.writing() as snapshot:
            self._sweep(snapshot.manifest)

    def set_indexed(self) -> None:
        """Let large fragments have an approximate index from now on."""
        with self.writing() as snapshot:
            if snapshot.manifest.indexed:
                return
            changed = replace(snapshot.manifest, step=snapshot.manifest.step + 1, indexed=True)
            changed.write(self.folder)

    def _write(self, rows: Rows) -> list[tuple[FragmentEntry, VectorIdentity]]:
        size, of, dtype = max_rows(rows.identity.dimension), rows.identity, rows.dtype
        parts = [rows.table[i : i + size] for i in range(0, len(rows.table), size)]
        return [(self.write([part], of, dtype, new_name()), of) for part in parts]

    def write(
        self, tables: Iterable[pa.Table], identity: VectorIdentity, dtype: str, name: str
    ) -> FragmentEntry:
        """A fragment file, not yet named by the manifest."""
        columns = schema(self.modality, identity.dimension, dtype)
        return write_fragment(self.folder / DATA / name, tables, columns, identity, dtype)

    def with_dead(self, fragment: Fragment, rows: np.ndarray | None) -> FragmentEntry:
        """The fragment's entry when ``rows`` are dead too; the list of all is a new file."""
        if rows is None or not len(rows):
            return fragment.entry
        dead = np.union1d(fragment.dead, rows)
        path = self.folder / DELETED / f"{fragment.path.stem}-{uuid.uuid4().hex}.parquet"
        return replace(fragment.entry, deleted=write_deleted(path, dead))

    def _check_identity(self, snapshot: Snapshot, identity: VectorIdentity) -> None:
        if self._several_models or identity in snapshot.identities:
            return
        for other in snapshot.identities:
            identity.check(other, str(self.folder))

    def _all(
        self, snapshot: Snapshot, ids: Sequence[str], *, missing_ok: bool
    ) -> dict[str, tuple[Fragment, int]]:
        found = snapshot.find(ids)
        missing = [one for one in ids if one not in found]
        if missing and not missing_ok:
            raise UnknownIdError(f"no row of id {missing[0]!r} is stored in {self.folder}")
        return found

    def _sweep(self, manifest: Manifest) -> None:
        """Remove files that no manifest names: replaced ones, or those of killed writers."""
        named = {entry.file.name for entry in manifest.fragments}
        lists = {entry.deleted.name for entry in manifest.fragments if entry.deleted}
        with locked(self.folder / COMPACTING, wait=False) as idle:
            for path in (self.folder / DATA).iterdir():
                if path.name not in named and (idle or not path.name.endswith(DRAFT)):
                    path.unlink(missing_ok=True)
        for path in (self.folder / DELETED).iterdir():
            if path.name not in lists:
                path.unlink(missing_ok=True)
        stems = {name.removesuffix(".parquet") for name in named}
        for path in (self.folder / SIDECARS).glob("*"):
            if path.name.split(".")[0] not in stems:
                path.unlink(missing_ok=True)


def max_rows(dimension: int) -> int:
    """Rows of the largest fragment."""
    return max(1, min(MAX_ROWS, _MAX_BYTES // (4 * dimension)))


def new_name() -> str:
    """A file name that no other fragment has."""
    return f"{uuid.uuid4().hex}.parquet"


def _dead(found: Iterable[tuple[Fragment, int]]) -> dict[str, np.ndarray]:
    rows: dict[str, list[int]] = {}
    for fragment, row in found:
        rows.setdefault(fragment.path.name, []).append(row)
    return {name: np.array(sorted(of), np.int64) for name, of in rows.items()}
