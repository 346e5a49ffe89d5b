"""A file appears whole or not at all, and two writers of one target never mix."""

import errno
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from llm_compression.errors import TargetBusyError
from llm_compression.files import atomic
from llm_compression.files.atomic import WaitingWarning, atomic_folder, atomic_write
from tests.weights import work


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "model.parquet"


def listing(target: Path) -> dict[str, bytes]:
    """Every file beside the target, hidden ones too."""
    return {path.name: path.read_bytes() for path in target.parent.iterdir()}


def write(target: Path, content: bytes, *, wait: bool = False) -> None:
    with atomic_write(target, wait=wait) as draft:
        draft.path.write_bytes(content)


def fail_halfway(target: Path, error: type[BaseException]) -> None:
    with atomic_write(target) as draft:
        draft.path.write_bytes(b"half")
        raise error


def test_the_target_appears_at_the_end(target: Path):
    with atomic_write(target) as draft:
        draft.path.write_bytes(b"new")
        assert not target.exists()
        assert draft.path.parent == target.parent
    assert listing(target) == {target.name: b"new"}


def test_an_old_target_stays_until_the_new_one_is_whole(target: Path):
    target.write_bytes(b"old and longer")
    with atomic_write(target) as draft:
        draft.path.write_bytes(b"new")
        assert target.read_bytes() == b"old and longer"
    assert listing(target) == {target.name: b"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_target_and_no_litter(target: Path, error: type[BaseException]):
    target.write_bytes(b"old")
    with pytest.raises(error):
        fail_halfway(target, error)
    assert listing(target) == {target.name: b"old"}
    write(target, b"next")
    assert listing(target) == {target.name: b"next"}


def test_a_draft_may_be_given_up(target: Path):
    target.write_bytes(b"old")
    with atomic_write(target) as draft:
        draft.path.write_bytes(b"new")
        draft.keep = False
    assert listing(target) == {target.name: b"old"}


def test_a_second_writer_is_refused(target: Path):
    with atomic_write(target) as draft:
        draft.path.write_bytes(b"first")
        with pytest.raises(TargetBusyError, match=r"model\.parquet is being written .*wait for it"):
            write(target, b"second")
        assert draft.path.read_bytes() == b"first"
    assert listing(target) == {target.name: b"first"}


def test_writers_of_other_targets_are_not_hindered(target: Path):
    other = target.with_name("other.parquet")
    with atomic_write(target) as draft:
        draft.path.write_bytes(b"one")
        write(other, b"two")
    assert listing(target) == {target.name: b"one", other.name: b"two"}


@pytest.mark.parametrize("first_fails", [False, True])
def test_a_waiting_writer_comes_after(target: Path, first_fails: bool):
    waiting = threading.Thread(target=write, args=(target, b"second"), kwargs={"wait": True})
    with suppress(ValueError), atomic_write(target) as draft:
        waiting.start()
        draft.path.write_bytes(b"first")
        waiting.join(0.2)
        assert waiting.is_alive()
        if first_fails:
            raise ValueError
    waiting.join(10)
    assert not waiting.is_alive()
    assert listing(target) == {target.name: b"second"}


def test_long_waiting_is_said(
    target: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
):
    monkeypatch.setattr(atomic, "_LONG", 0.1)
    waiting = threading.Thread(target=write, args=(target, b"second"), kwargs={"wait": True})
    with atomic_write(target) as draft:
        draft.path.write_bytes(b"first")
        waiting.start()
        waiting.join(1)
    waiting.join(10)
    said = str(recwarn.pop(WaitingWarning).message)
    assert said.endswith(f"which is writing {target}; end it if it hangs")
    assert listing(target) == {target.name: b"second"}


def test_a_link_in_the_place_of_a_draft_is_not_followed(target: Path):
    other = target.with_name("other")
    other.write_bytes(b"of somebody else")
    target.with_name(f".{target.name}.tmp").symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        write(target, b"new")
    assert other.read_bytes() == b"of somebody else"


def test_a_child_forked_meanwhile_lets_the_next_writer_go_on(target: Path):
    waiting = threading.Thread(target=write, args=(target, b"second"), kwargs={"wait": True})
    with atomic_write(target) as draft:
        waiting.start()
        waiting.join(0.2)
        draft.path.write_bytes(b"first")
        child = os.fork()
        if not child:
            signal.pause()
    try:
        waiting.join(10)
        assert not waiting.is_alive()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert listing(target) == {target.name: b"second"}


def test_many_waiting_writers_take_turns(target: Path):
    contents = [bytes([i]) * 50_000 for i in range(12)]
    writers = [
        threading.Thread(target=write, args=(target, content), kwargs={"wait": True})
        for content in contents
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    (found,) = listing(target).values()
    assert found in contents


def test_what_a_killed_writer_left_is_taken_over(target: Path, start):
    target.write_bytes(b"old")
    pipe, process = start(work.write_and_hang, target)
    assert pipe.recv() == "half"
    with pytest.raises(TargetBusyError):
        write(target, b"too early")
    process.kill()
    process.join()
    assert len(listing(target)) == 2
    assert target.read_bytes() == b"old"
    with atomic_write(target) as draft:
        assert draft.path.read_bytes() == b""
        draft.path.write_bytes(b"new")
    assert listing(target) == {target.name: b"new"}


def test_the_child_of_a_killed_writer_holds_nothing(target: Path, start):
    pipe, process = start(work.fork_within_and_hang, target)
    child = pipe.recv()
    process.kill()
    process.join()
    try:
        write(target, b"new")
    finally:
        os.kill(child, signal.SIGKILL)
    assert listing(target) == {target.name: b"new"}


def test_the_content_is_on_disk_before_the_name(target: Path, monkeypatch: pytest.MonkeyPatch):
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink()}")
        fsync(descriptor)

    def renamed(source: Path, destination: Path) -> Path:
        steps.append(f"rename to {destination}")
        return replace(source, destination)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    with atomic_write(target) as draft:
        draft.path.write_bytes(b"new")
    assert steps == [f"sync {draft.path}", f"rename to {target}", f"sync {target.parent}"]


def test_a_disk_that_fills_at_the_last_moment(target: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(target, b"new")
    assert listing(target) == {target.name: b"old"}


def test_a_folder_that_is_not_there(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "nowhere" / "model.parquet", b"new")


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe, b"through")
    reader.join(timeout=10)
    assert read == [b"through"]
    assert pipe.is_fifo()
    assert listing_names(tmp_path) == ["pipe"]


def test_a_link_stays_one(tmp_path: Path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    write(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert listing_names(tmp_path) == ["link", "real"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path):
    target = tmp_path / "folder"
    with suppress(ZeroDivisionError), atomic_folder(target) as draft:
        (draft / "half").write_text("written")
        raise ZeroDivisionError
    assert listing_names(tmp_path) == []
    with atomic_folder(target) as draft:
        (draft / "whole").write_text("written")
        assert not target.exists()
        with pytest.raises(TargetBusyError), atomic_folder(target):
            pass
    assert listing_names(tmp_path) == ["folder"]
    assert (target / "whole").read_text() == "written"


def test_the_folder_that_a_killed_writer_left_is_taken_over(tmp_path: Path):
    left = tmp_path / ".folder.tmp"
    (left / "below").mkdir(parents=True)
    (left / "below" / "half").write_text("old")
    (left / "half").write_text("old")
    with atomic_folder(tmp_path / "folder") as draft:
        (draft / "whole").write_text("written")
    assert listing_names(tmp_path) == ["folder"]
    assert listing_names(tmp_path / "folder") == ["whole"]


def listing_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
