"""OwnStore: the plan of our own in its least form, to be measured beside the table formats.

A fragment is a Parquet file that is written, synced, and named with its checksum in a new manifest,
which replaces the old one in one step; under one lock of the folder. A deleted id goes into a
tombstone file that the manifest names as well. Ten fragments of one size class become one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_MERGED = 10
_LARGEST = 100_000
_ENCODING: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,
    "use_byte_stream_split": ["embedding.list.element"],
    "write_statistics": ["id"],
    "row_group_size": 4096,
}


class OwnStore:
    """Rows with an id in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifest = folder / "manifest.json"

    def append(self, table: pa.Table) -> None:
        """Add rows; when this returns they survive a loss of power."""
        with self._locked() as manifest:
            manifest["fragments"].append(self._fragment(table))
            for fragments in iter(lambda: _mergeable(manifest["fragments"]), None):
                self._merge(manifest, fragments)
            self._commit(manifest)

    def delete(self, identity: str) -> None:
        """Remove one row, by a tombstone."""
        with self._locked() as manifest:
            name = f"{uuid.uuid4().hex}.deleted"
            with self._synced(name) as file:
                file.write(identity.encode())
            manifest["tombstones"].append(name)
            self._commit(manifest)

    def compact(self) -> None:
        """Merge all but the largest fragments."""
        with self._locked() as manifest:
            small = [f for f in manifest["fragments"] if f["rows"] < _LARGEST]
            self._merge(manifest, small)
            self._commit(manifest)

    def count(self) -> int:
        """Rows that were not deleted."""
        manifest = self._read()
        rows: int = sum(f["rows"] for f in manifest["fragments"])
        return rows - len(manifest["tombstones"])

    def get(self, identity: str) -> pa.Table:
        """The row of one id, as a table of one row."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        holding = [
            f["name"] for f in self._read()["fragments"] if f["first"] <= identity <= f["last"]
        ]
        paths = [self._folder / name for name in holding]
        filters = [("id", "==", identity)]
        return pa.concat_tables([pq.read_table(path, filters=filters) for path in paths])

    def read(self) -> pa.Table:
        """All rows; the checksum of each fragment is compared first."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        fragments = self._read()["fragments"]
        for fragment in fragments:
            if _checksum(self._folder / fragment["name"]) != fragment["checksum"]:
                raise ValueError(f"{fragment['name']} is damaged")
        return pa.concat_tables([pq.read_table(self._folder / f["name"]) for f in fragments])

    def _merge(self, manifest: dict[str, Any], fragments: list[dict[str, Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables = [pq.read_table(self._folder / f["name"]) for f in fragments]
        merged = self._fragment(pa.concat_tables(tables))
        manifest["fragments"] = [f for f in manifest["fragments"] if f not in fragments] + [merged]
        manifest.setdefault("replaced", []).extend(f["name"] for f in fragments)

    def _fragment(self, table: pa.Table) -> dict[str, Any]:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        name = f"{uuid.uuid4().hex}.parquet"
        with self._synced(name) as file:
            pq.write_table(table, file, **_ENCODING)
        ends = pc.min_max(table["id"]).as_py()
        return {
            "name": name,
            "checksum": _checksum(self._folder / name),
            "rows": len(table),
            "first": ends["min"],
            "last": ends["max"],
        }

    @contextmanager
    def _synced(self, name: str) -> Iterator[Any]:
        with open(self._folder / name, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def _commit(self, manifest: dict[str, Any]) -> None:
        """The data's names are on the disk before the manifest that speaks of them."""
        self._sync_names()
        replaced = manifest.pop("replaced", [])
        with self._synced("manifest.new") as file:
            file.write(json.dumps(manifest).encode())
        (self._folder / "manifest.new").replace(self._manifest)
        self._sync_names()
        for name in replaced:
            (self._folder / name).unlink()

    def _sync_names(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        with open(self._folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._read()

    def _read(self) -> dict[str, Any]:
        if not self._manifest.exists():
            return {"fragments": [], "tombstones": []}
        manifest: dict[str, Any] = json.loads(self._manifest.read_bytes())
        return manifest


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.blake2b(file.read(), digest_size=16).hexdigest()


def _mergeable(fragments: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Ten fragments of one size class below the largest, or none."""
    classes: dict[int, list[dict[str, Any]]] = {}
    for fragment in fragments:
        if fragment["rows"] < _LARGEST:
            classes.setdefault(len(str(fragment["rows"])), []).append(fragment)
    return next((some[:_MERGED] for some in classes.values() if len(some) >= _MERGED), None)
