"""Processes and threads write and read one dataset at once, and each sees whole versions."""

import threading
import time
from itertools import chain, islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from llm_compression.errors import DuplicateIdError
from llm_compression.files.durable import locked
from llm_compression.memory.search import twin
from llm_compression.memory.storage.compaction import compact
from llm_compression.memory.storage.fragment import FragmentGoneError
from llm_compression.memory.storage.snapshot import Selection
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.storage import work
from tests.memory.storage.steps import State, after, assert_works_on, held, put, random_steps
from tests.memory.storage.test_killed import allowed, said

BATCH = [f"row {i}" for i in range(40)]


@pytest.mark.parametrize("count", [25, pytest.param(400, marks=pytest.mark.slow)])
def test_writers_do_not_disturb_each_other(start, tmp_path: Path, count: int):
    workers = [start(work.take_steps, tmp_path, i, f"w{i}", count) for i in range(4)]
    state = State()
    for i, (pipe, process) in enumerate(workers):
        assert allowed(said(pipe)) == [final(i, f"w{i}", count)]
        process.join()
        state |= final(i, f"w{i}", count)
    assert held(VectorStorage(tmp_path)) == state
    assert VectorStorage(tmp_path).verify() == []
    assert_works_on(tmp_path)


def final(seed: int, owner: str, count: int) -> State:
    state = State()
    for step in islice(random_steps(seed, owner), count):
        state = after(state, step)
    return state


@pytest.mark.parametrize("versions", [30, pytest.param(500, marks=pytest.mark.slow)])
def test_readers_see_each_batch_whole(start, processes, tmp_path: Path, versions: int):
    put(VectorStorage(tmp_path), BATCH)
    readers = [start(work.read_until, tmp_path, BATCH) for _ in range(2)]
    with processes.Pool(1) as pool:
        pool.apply(work.replace_all, (tmp_path, BATCH, range(versions)))
    for pipe, _ in readers:
        pipe.send("stop")
        readings, wrong = pipe.recv()
        assert readings >= 2
        assert wrong == []


def test_an_id_is_stored_once_by_all_processes(processes, tmp_path: Path):
    moment = time.monotonic() + 0.3
    calls = [(moment, tmp_path, BATCH, version) for version in range(3)]
    with processes.Pool(3) as pool:
        won = pool.starmap(work.store_each, calls, chunksize=1)
    assert sorted(chain(*won)) == sorted(BATCH)
    owners = {one: version for version, ids in enumerate(won) for one in ids}
    assert held(VectorStorage(tmp_path)) == owners


def test_an_id_is_stored_once_by_all_threads(tmp_path: Path):
    shared, stored, readings = VectorStorage(tmp_path), [], []

    def write(version: int) -> None:
        storage = shared if version % 2 else VectorStorage(tmp_path)
        stored.extend(one for one in BATCH if work.stored(storage, one, version))

    def read() -> None:
        while len(readings) < 10 or len(stored) < len(BATCH):
            readings.append(held(shared))

    run(
        [threading.Thread(target=write, args=(i,)) for i in range(3)], threading.Thread(target=read)
    )
    assert sorted(stored) == sorted(BATCH)
    assert set(held(shared)) == set(BATCH)
    for earlier, later in pairwise(readings):
        assert earlier.items() <= later.items()


def run(writers: list[threading.Thread], reader: threading.Thread) -> None:
    for thread in (*writers, reader):
        thread.start()
    for thread in (*writers, reader):
        thread.join(60)
        assert not thread.is_alive()


def of_many_files(path: Path) -> VectorStorage:
    storage = VectorStorage(path, auto_compact=False)
    for one in BATCH[:5]:
        put(storage, [one])
    storage.delete("text", BATCH[:1])
    return storage


def test_a_read_that_compaction_overtakes_begins_again(tmp_path: Path):
    storage, tried = of_many_files(tmp_path), []

    def read(version):
        tried.append(version)
        VectorStorage(tmp_path).compact()
        return version.table(Selection(), ["embedding_id"])

    (rows,) = storage.dataset("text").reading(read)
    assert rows["embedding_id"].to_pylist() == BATCH[1:5]
    assert len(tried) == 2
    with pytest.raises(FragmentGoneError):
        tried[0].table(Selection())


def test_a_read_that_a_delete_overtakes_begins_again(tmp_path: Path):
    storage = VectorStorage(tmp_path)
    put(storage, BATCH)
    storage.delete("text", BATCH[:1])

    def read(version):
        if len(version) == 39:
            VectorStorage(tmp_path).delete("text", BATCH[1:2])
        return [len(part) for part in version.table(Selection(), ["embedding_id"])]

    assert storage.dataset("text").reading(read) == [38]


@pytest.mark.parametrize("ids", [BATCH[1:3], BATCH[1:5]], ids=["some", "all"])
def test_rows_that_die_while_they_are_merged_stay_dead(ids, tmp_path: Path, monkeypatch):
    storage = of_many_files(tmp_path)
    put(storage, ["last"])
    dataset = storage.dataset("text")
    write = dataset.write

    def overtaken(*args):
        entry = write(*args)
        if args[-1].endswith(".tmp"):
            VectorStorage(tmp_path, auto_compact=False).delete("text", ids)
            put(VectorStorage(tmp_path, auto_compact=False), ["meanwhile"])
            monkeypatch.undo()
        return entry

    monkeypatch.setattr(dataset, "write", overtaken)
    storage.compact()
    left = [one for one in BATCH[1:5] if one not in ids]
    assert list(held(storage)) == [*left, "last", "meanwhile"]
    assert storage.get_storage_stats()["text"].deleted == 0
    assert_works_on(tmp_path)


def test_a_delete_that_overtakes_compaction_does_not_stop_it(tmp_path: Path, monkeypatch):
    storage = of_many_files(tmp_path)
    put(storage, BATCH[5:])
    storage.delete("text", BATCH[5:6])
    dataset = storage.dataset("text")
    stale = dataset.snapshot()
    VectorStorage(tmp_path, auto_compact=False).delete("text", BATCH[6:7])  # replaces the list
    latest = dataset.snapshot
    answers = iter([stale, stale])
    monkeypatch.setattr(dataset, "snapshot", lambda: next(answers, None) or latest())
    assert compact(dataset, everything=True) == 1
    assert list(held(storage)) == [*BATCH[1:5], *BATCH[7:]]


def test_automatic_compaction_leaves_it_to_one_that_is_going_on(tmp_path: Path):
    storage = VectorStorage(tmp_path)
    put(storage, BATCH[:1])
    with locked(tmp_path / "text" / "compacting.lock"):
        for one in BATCH[1:20]:
            put(storage, [one])
        assert storage.get_storage_stats()["text"].fragments == 20
    put(storage, BATCH[20:21])
    assert storage.get_storage_stats()["text"].fragments < 8


def test_the_file_that_compaction_is_writing_is_no_garbage(tmp_path: Path):
    storage = VectorStorage(tmp_path)
    put(storage, BATCH[:1])
    draft = tmp_path / "text" / "data" / "0.parquet.tmp"
    draft.write_bytes(b"half")
    with locked(tmp_path / "text" / "compacting.lock"):
        put(storage, BATCH[1:2])
        assert draft.exists()
    put(storage, BATCH[2:3])
    assert not draft.exists()


def test_a_duplicate_names_the_id(tmp_path: Path):
    put(VectorStorage(tmp_path), BATCH)
    with pytest.raises(DuplicateIdError, match=r"'row 3' is stored already in .*replace=True"):
        put(VectorStorage(tmp_path), ["new", "row 3"], 1)
    assert held(VectorStorage(tmp_path)) == dict.fromkeys(BATCH, 0)


@pytest.mark.parametrize("method", ["exact", "int8"])
def test_a_child_forked_while_a_thread_prepares_searches(start, tmp_path: Path, method: str):
    ids = [str(i) for i in range(twin.SMALL + 1)]
    VectorStorage(tmp_path).store("text", ids, ids, np.ones((len(ids), 2)))
    pipe, process = start(work.fork_while_a_twin_is_made, tmp_path, method)
    assert pipe.recv() == (3, 3)
    process.join()
