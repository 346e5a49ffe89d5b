"""EmbeddingCache where it cannot be written: what it has is found, what is new is not kept."""

import os
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from llm_compression import ArrowEngineProvider, EmbeddingCache
from llm_compression.errors import DamagedStorageError, InputError, OutputError
from llm_compression.memory.cache.cached import NotCachedWarning
from tests.memory.cache_work import (
    IDENTITY,
    Said,
    content,
    keep,
    keep_and_wait,
    use_on_a_full_disk,
    use_without_rights,
    wrong,
)

Use = Callable[[Path], Said]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that any user may enter."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


@pytest.fixture
def use(start) -> Use:
    """What `use_without_rights` says."""

    def begin(path: Path) -> Said:
        pipe, process = start(use_without_rights, path)
        said: Said = pipe.recv()
        process.join()
        return said

    return begin


def test_a_folder_that_cannot_be_written(folder: Path, use: Use):
    """The last who wrote has taken the log away."""
    cache = EmbeddingCache(folder / "cache.db")
    keep(cache, 1)
    cache.close()
    before = sorted(folder.iterdir())
    folder.chmod(0o555)
    found, count, said = use(cache.path)
    assert (found, count) == ([True, False], 1)
    assert said.startswith(f"cannot use the embedding cache {cache.path}: ")
    assert sorted(folder.iterdir()) == before


def test_a_file_that_cannot_be_written(folder: Path, use: Use):
    cache = EmbeddingCache(folder / "cache.db")
    keep(cache, 1)
    cache.close()
    cache.path.chmod(0o444)
    folder.chmod(0o777)
    found, count, said = use(cache.path)
    assert (found, count) == ([True, False], 1)
    assert "readonly" in said


def test_another_user_writes(folder: Path, use: Use, start):
    pipe, process = start(keep_and_wait, folder / "cache.db")
    pipe.recv()
    folder.chmod(0o555)
    assert use(folder / "cache.db")[:2] == ([True, False], 1)
    pipe.send("end")
    process.join()


def test_what_a_killed_process_left_in_the_log(folder: Path, use: Use, start):
    pipe, process = start(keep_and_wait, folder / "cache.db")
    pipe.recv()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    folder.chmod(0o555)
    assert use(folder / "cache.db")[:2] == ([True, False], 1)
    folder.chmod(0o755)
    (folder / "cache.db-shm").unlink()
    folder.chmod(0o555)
    pipe, process = start(use_without_rights, folder / "cache.db")
    with pytest.raises(EOFError):  # the log cannot be read, and what is without it is not known
        pipe.recv()
    process.join()


@pytest.mark.parametrize("place", ["cache.db", "new/cache.db"])
def test_none_can_be_made(place: str, folder: Path, use: Use):
    folder.chmod(0o555)
    found, count, said = use(folder / place)
    assert (found, count) == ([False, False], 0)
    assert said.startswith(f"cannot use the embedding cache {folder / place}: ")


def test_a_full_disk_has_room_for_none(tmp_path: Path, start):
    pipe, _ = start(use_on_a_full_disk, tmp_path / "cache.db")
    found, count, said = pipe.recv()
    assert (found, count) == ([False, False], 0)
    assert "free space" in said


def test_a_full_disk_has_no_room_for_its_log(tmp_path: Path, start):
    cache = EmbeddingCache(tmp_path / "cache.db")
    keep(cache, 1)
    cache.close()
    pipe, _ = start(use_on_a_full_disk, tmp_path / "cache.db")
    found, count, said = pipe.recv()
    assert (found, count) == ([True, False], 1)
    assert "free space" in said
    keep(cache, 2)
    assert wrong(cache, 1, 2) == []


def test_a_path_that_cannot_be_embeds_all_the_same(tmp_path: Path, tiny_table: Path):
    (tmp_path / "file").write_text("")
    cache = EmbeddingCache(tmp_path / "file" / "cache.db")
    provider = ArrowEngineProvider(tiny_table, cache=cache)
    with pytest.warns(NotCachedWarning, match="made, but not kept: cannot use the embedding"):
        found = provider.encode("the cat sits")
    np.testing.assert_array_equal(found, ArrowEngineProvider(tiny_table).encode("the cat sits"))
    assert (len(cache), cache.nbytes, cache.misses) == (0, 0, 1)
    with pytest.raises(OutputError, match=f"{cache.path}: File exists"):
        cache.clear()


def test_it_is_kept_once_it_can_be(tmp_path: Path):
    (tmp_path / "file").write_text("")
    cache = EmbeddingCache(tmp_path / "file" / "cache.db")
    with pytest.raises(OutputError):
        keep(cache, 1)
    (tmp_path / "file").unlink()
    keep(cache, 1)
    assert cache.get(IDENTITY, [content(1)])[0] is not None


@pytest.mark.parametrize(
    ("made", "error"), [("CREATE TABLE theirs (id)", InputError), (None, DamagedStorageError)]
)
def test_what_is_no_cache_is_told(made: str | None, error: type, tmp_path: Path, monkeypatch):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(made or "CREATE TABLE vectors (id)")
    if made is None:
        path.write_bytes(b"no database" + path.read_bytes())
    monkeypatch.setattr("llm_compression.memory.cache.cache_file.open_database", _refuse)
    with pytest.raises(error, match=str(path)):
        len(EmbeddingCache(path))


def _refuse(path: Path) -> None:
    raise PermissionError(13, "Permission denied")
