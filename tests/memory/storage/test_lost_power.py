"""A loss of power at any moment loses no acknowledged step, as each fsync stands where it must."""

import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from llm_compression.memory.storage import dataset
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.storage import disk, work
from tests.memory.storage.calls import Calls
from tests.memory.storage.disk import Disk, Op, Tree
from tests.memory.storage.steps import (
    State,
    after,
    assert_works_on,
    found_files,
    held,
    random_steps,
    take,
)

STORAGE = "made/by/storage"
KINDS = {
    "fragments": lambda path: "/data/" in path and path.endswith(".parquet"),
    "merged fragments": lambda path: path.endswith(".parquet.tmp"),
    "names of fragments": lambda path: path.endswith("/data"),
    "deletion lists": lambda path: "/deleted/" in path,
    "names of deletion lists": lambda path: path.endswith("/deleted"),
    "manifest": lambda path: path.endswith(".manifest.json.tmp"),
    "name of the manifest": lambda path: path.endswith("/text"),
    "folder of the storage": lambda path: path == STORAGE,
    "folders above": lambda path: path in (".", "made", "made/by"),
}


class Moment(NamedTuple):
    """The log up to here, and the rows that may be there."""

    ops: int
    allowed: tuple[State, ...]


class Record(NamedTuple):
    ops: list[Op]
    moments: list[Moment]


def record(root: Path, seed: int, count: int) -> Record:
    """What a storage does while it takes steps, begun in a folder of a killed one."""
    moments: list[Moment] = []
    state = State()
    allowed: tuple[State, ...] = (state,)
    with pytest.MonkeyPatch.context() as patch:
        calls = Calls(patch, root, lambda op: moments.append(Moment(len(calls.log), allowed)))
        patch.setattr(dataset, "MAX_ROWS", work.SMALL)
        (root / "made").mkdir()  # and killed before it was synced
        storage = VectorStorage(root / STORAGE)
        for step in islice(random_steps(seed, "row"), count):
            allowed = (state, after(state, step))
            take(storage, step)
            state = after(state, step)
            allowed = (state,)
            moments.append(Moment(len(calls.log), allowed))
    return Record(calls.log, moments)


def losses(record: Record, folder: Path, crashes: list[disk.Crash]) -> Iterator[str]:
    """Moments at which a crash leaves something that may not be."""
    found: dict[object, State | str] = {}
    device, done = Disk(), 0
    for moment in record.moments:
        for op in record.ops[done : moment.ops]:
            device.do(op)
        done = moment.ops
        for tree in map(device.left, crashes):
            key = frozenset(tree.items())
            if key not in found:
                found[key] = opened(tree, folder / str(len(found)))
            if found[key] not in moment.allowed:
                yield f"after {record.ops[: moment.ops][-3:]}: {found[key]}"


def opened(tree: Tree, folder: Path) -> State | str:
    """The rows of a storage after a crash, or what is wrong with it."""
    disk.write(tree, folder)
    try:
        storage = VectorStorage(folder / STORAGE)
        state = held(storage)
        assert storage.verify() == []
        if len(found_files(folder / STORAGE)) % 4 == 0:
            assert_works_on(folder / STORAGE)
    except Exception as error:
        return repr(error)
    shutil.rmtree(folder)
    return state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "replayed").mkdir()
    return tmp_path / "replayed"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real disk is not waited for."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recorded")


@pytest.fixture(scope="module")
def recorded(root: Path) -> Record:
    return record(root, 1, 15)


def test_the_record_is_complete(recorded: Record, root: Path):
    device = Disk()
    for op in recorded.ops:
        device.do(op)
    assert device.left(disk.everything()) == disk.read(root)
    assert {op.kind for op in recorded.ops} == {
        "create", "mkdir", "write", "fsync", "rename", "unlink"
    }  # fmt: skip


@pytest.mark.parametrize(
    "crash", [disk.nothing_unsynced(), disk.names_without_data(), disk.some(1)]
)
def test_a_crash_loses_nothing(crash: disk.Crash, recorded: Record, folder: Path):
    assert list(losses(recorded, folder, [crash])) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_long_series_lose_nothing(seed: int, tmp_path: Path, folder: Path):
    (tmp_path / "recorded").mkdir()
    log = record(tmp_path / "recorded", seed, 40)
    crashes = [
        disk.nothing_unsynced(),
        disk.names_without_data(),
        disk.names_with_half_of_the_data(),
        disk.everything(),
        *(disk.some(10 * seed + i) for i in range(4)),
    ]
    assert list(losses(log, folder, crashes)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_fsync_is_needed(kind: str, recorded: Record, folder: Path):
    skipped = {op for op in recorded.ops if op.kind == "fsync" and KINDS[kind](op.path)}
    assert skipped
    blind = Record(
        [Op("no fsync", op.path) if op in skipped else op for op in recorded.ops],
        recorded.moments,
    )
    crashes = [disk.nothing_unsynced(), disk.names_without_data(), disk.some(1)]
    assert next(losses(blind, folder, crashes), None)
