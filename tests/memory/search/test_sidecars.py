"""Sidecars: a damaged, missing or unwritable one never changes a result."""

import errno
import gc
import os
import resource
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from llm_compression.errors import DamagedStorageError
from llm_compression.memory.search import index, sidecar
from llm_compression.memory.search.sidecar import SidecarWarning
from llm_compression.memory.search.twin import SMALL, Twin
from llm_compression.memory.storage.dataset import SIDECARS
from llm_compression.memory.storage.snapshot import DamagedFragmentWarning
from llm_compression.memory.vector_reader import VectorReader
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.search.reference import random, same, scores_of, stored

N, D = 3 * SMALL, 8
VECTORS = random(N, D)
QUERY = random(1, D, seed=1)[0]
SCORES = scores_of(QUERY, VECTORS)[0]
METHODS = {"exact": "twin", "int8": "uint8", "binary": "bits"}


@pytest.fixture
def storage(tmp_path: Path) -> VectorStorage:
    return stored(tmp_path, VECTORS)


def check(storage: VectorReader, method: str = "exact") -> None:
    more = {} if method == "exact" else {"oversample": N}
    same(storage.search(QUERY, method=method, **more), SCORES, 10)


def folder(storage: VectorReader) -> Path:
    return storage.path / "text" / SIDECARS


def files(storage: VectorReader) -> set[str]:
    return {path.name.partition(".")[2].partition("-")[0] for path in folder(storage).iterdir()}


@pytest.mark.parametrize("method", METHODS)
def test_made_by_the_first_search_and_shared(storage: VectorStorage, method: str) -> None:
    check(storage, method)
    assert files(storage) == {"twin", METHODS[method]}
    before = {path: path.stat().st_mtime_ns for path in folder(storage).iterdir()}
    check(VectorReader(storage.path), method)
    assert {path: path.stat().st_mtime_ns for path in folder(storage).iterdir()} == before


@pytest.mark.parametrize("method", METHODS)
def test_prepare_search_makes_them_before(storage: VectorStorage, method: str) -> None:
    storage.prepare_search("text", method=method, show_progress=False)
    assert files(storage) == {"twin", METHODS[method]}


def test_small_files_have_none(tmp_path: Path) -> None:
    storage = stored(tmp_path, VECTORS[:SMALL])
    storage.search(QUERY)
    assert not folder(storage).exists()


@pytest.mark.parametrize("change", ["flipped", "cut", "empty", "longer", "removed"])
@pytest.mark.parametrize("method", METHODS)
def test_damaged_ones_are_made_again(storage: VectorStorage, method: str, change: str) -> None:
    check(storage, method)
    intact = {path.name: path.read_bytes() for path in folder(storage).iterdir()}
    for name, content in intact.items():
        path, flipped = folder(storage) / name, bytearray(content)
        flipped[len(content) // 2] ^= 4
        path.write_bytes({"flipped": bytes(flipped), "cut": content[:-9], "longer": content + b"x",
                          "empty": b"", "removed": b""}[change])  # fmt: skip
        if change == "removed":
            path.unlink()
    check(VectorReader(storage.path), method)
    assert {path.name: path.read_bytes() for path in folder(storage).iterdir()} == intact


def test_a_flipped_bit_anywhere_is_seen(storage: VectorStorage) -> None:
    check(storage)
    (path,) = folder(storage).iterdir()
    intact = path.read_bytes()
    for at in range(0, len(intact), len(intact) // 40):
        changed = bytearray(intact)
        changed[at] ^= 1 << at % 8
        path.write_bytes(bytes(changed))
        check(VectorReader(storage.path))
        assert path.read_bytes() == intact


def test_a_folder_that_cannot_be_made_costs_memory_and_says_so(storage: VectorStorage) -> None:
    folder(storage).write_text("no folder")
    with pytest.warns(SidecarWarning, match="choose another place; searches of this process hold"):
        check(storage)
    check(storage)  # from memory, and silently


def test_a_full_disk_costs_memory_and_says_so(
    storage: VectorStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, table: pa.Table) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sidecar, "_write", full)
    with pytest.warns(SidecarWarning, match="No space left on device; free space"):
        check(storage)
    assert list(folder(storage).iterdir()) == []


def limited(pipe, path: Path) -> None:
    """A search where no file may grow beyond 4 KiB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    with pytest.warns(SidecarWarning):
        check(VectorReader(path))
    pipe.send([path.name for path in folder(VectorReader(path)).iterdir()])


def test_a_file_that_may_not_grow_is_like_a_full_disk(start, storage: VectorStorage) -> None:
    pipe, _ = start(limited, storage.path)
    assert pipe.recv() == []


def test_a_damaged_one_that_cannot_be_removed_is_not_used(
    storage: VectorStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(storage)
    (path,) = folder(storage).iterdir()
    path.write_bytes(path.read_bytes()[:-64])

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "unlink", refused)
    check(VectorReader(storage.path))


def test_a_draft_of_a_process_that_was_killed_goes_after_a_while(storage: VectorStorage) -> None:
    stem = storage.dataset("text").snapshot().fragments[0].path.stem
    folder(storage).mkdir()
    drafts = [folder(storage) / f"{stem}.{name}.tmp" for name in ("old", "young")]
    for draft in drafts:
        draft.write_bytes(b"half")
    os.utime(drafts[0], (0, 0))
    check(storage)
    assert (drafts[0].exists(), drafts[1].exists()) == (False, True)


def search(pipe, path: Path, count: int) -> None:
    """Searches after a word from the test, by every method."""
    pipe.recv()
    for _ in range(count):
        for method in METHODS:
            check(VectorReader(path), method)
    pipe.send("done")


def test_processes_that_make_the_same_do_not_harm_each_other(start, storage: VectorStorage) -> None:
    pipes = [start(search, storage.path, 1)[0] for _ in range(3)]
    for pipe in pipes:
        pipe.send("go")
    assert [pipe.recv() for pipe in pipes] == ["done"] * 3
    assert files(storage) == {"twin", "uint8", "bits"}
    assert len(list(folder(storage).iterdir())) == 3


def test_searches_go_on_while_another_process_compacts(start, tmp_path: Path) -> None:
    """Each compaction makes one file of two, and removes these with their twins."""
    storage = stored(tmp_path, VECTORS, fragments=2)
    pipe, process = start(search, storage.path, 8)
    pipe.send("go")
    while not pipe.poll(0.01) and process.is_alive():
        storage.update("text", "row 5", source="other")  # makes a second file, and a dead row
        storage.compact("text")
        # the order of storing changes with the row, not what is found
    assert pipe.recv() == "done"


def test_compaction_under_the_hand_of_a_search(
    storage: VectorStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each step of making a sidecar the fragment may go; the search starts again."""
    write, calls = sidecar._write, []

    def overtaken(path: Path, table: pa.Table) -> None:
        write(path, table)
        calls.append(path)
        if len(calls) == 1:
            storage.update("text", "row 0", source="other")
            storage.compact("text")
            assert not path.exists()

    monkeypatch.setattr(sidecar, "_write", overtaken)
    check(VectorReader(storage.path))
    assert len(calls) == 2


def test_threads_share_one_storage(storage: VectorStorage) -> None:
    errors: list[BaseException] = []

    def work(method: str) -> None:
        try:
            for _ in range(5):
                check(storage, method)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(method,)) for method in [*METHODS] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_the_vectors_are_the_mapped_file(storage: VectorStorage) -> None:
    check(storage, "int8")
    twin = Twin(storage.dataset("text").snapshot().fragments[0])
    arrays = {"twin": twin.vectors, "uint8": twin.int8[0], "bits": twin.bits}
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    for kind, array in arrays.items():
        assert not array.flags.owndata
        assert not array.flags.writeable
        spans = [line[0].split("-") for line in maps if f".{kind}-" in line[-1]]
        assert any(int(a, 16) <= array.ctypes.data < int(b, 16) for a, b in spans)
    with pytest.raises(ValueError, match="read-only"):
        twin.vectors[0, 0] = 1


def test_files_that_compaction_removed_are_closed(tmp_path: Path) -> None:
    storage = stored(tmp_path, VECTORS, fragments=2)
    check(storage)
    storage.compact("text")
    check(storage)
    gc.collect()
    mapped = [
        line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line
    ]
    assert len({line.split(maxsplit=5)[-1] for line in mapped}) == 1


def test_sidecars_count_in_the_statistics_and_nowhere_else(storage: VectorStorage) -> None:
    before = storage.get_storage_stats()["text"]
    check(storage, "int8")
    after = storage.get_storage_stats()["text"]
    assert after.search_bytes == sum(path.stat().st_size for path in folder(storage).iterdir())
    assert (before.search_bytes, before.bytes) == (0, after.bytes)
    assert np.sum([before.rows, after.rows]) == 2 * N


@pytest.mark.parametrize("work", ["prepare", "index"])
def test_those_of_undamaged_files_are_made(tmp_path: Path, work: str, monkeypatch) -> None:
    monkeypatch.setattr(index, "LEAST_ROWS", 1000)
    made = stored(tmp_path, VECTORS, fragments=2)
    first, second = (fragment.path for fragment in made.dataset("text").snapshot().fragments)
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)

    def begin(storage: VectorStorage) -> int | None:
        if work == "index":
            return storage.build_index("text", show_progress=False)
        return storage.prepare_search("text", method="binary", show_progress=False)

    with pytest.raises(DamagedStorageError, match=first.name):
        begin(VectorStorage(tmp_path))
    storage = VectorStorage(tmp_path, on_damage="skip")
    with pytest.warns(DamagedFragmentWarning, match=first.name):
        assert begin(storage) == (1 if work == "index" else None)
    assert {path.name.partition(".")[0] for path in folder(storage).iterdir()} == {second.stem}
    assert {"index": "usearch", "prepare": "bits"}[work] in files(storage)
