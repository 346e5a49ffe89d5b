"""A full disk or a failing call is an error, not a hole: the rows of before stand."""

import errno
import os
from pathlib import Path

import pytest

from llm_compression.errors import InputError, OutputError
from llm_compression.memory.storage import dataset
from llm_compression.memory.storage.compaction import NotMergedWarning
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.storage import work
from tests.memory.storage.calls import Calls
from tests.memory.storage.disk import Op
from tests.memory.storage.steps import Step, after, assert_works_on, held, put, take

IDS = tuple(f"row {i}" for i in range(40))
STEPS = [
    Step("store", ("new",), 1),
    Step("store", tuple(f"new {i}" for i in range(20)), 1),
    Step("replace", IDS[5:9], 1),
    Step("update", IDS[:1], 1),
    Step("delete", IDS[3:7], 1),
    Step("compact"),
    Step("index", version=1),
]


class Fault:
    """Lets a number of changes through and refuses the next one."""

    def __init__(self, number: int, code: int) -> None:
        self.left, self.code, self.refused, self.path = number, code, "", ""

    def __call__(self, op: Op) -> None:
        self.left -= 1
        if self.left == -1:
            self.refused, self.path = op.kind, op.path
            raise OSError(self.code, os.strerror(self.code))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(dataset, "MAX_ROWS", work.SMALL)


def filled(path: Path) -> VectorStorage:
    """40 rows in three fragments and some dead ones."""
    storage = VectorStorage(path, auto_compact=False)
    put(storage, IDS[:30])
    put(storage, [*IDS[30:], "dead"])
    storage.delete("text", ["dead"])
    return storage


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.kind} {len(step.ids)}")
@pytest.mark.parametrize(
    "codes",
    [
        [errno.ENOSPC, errno.EIO, errno.EACCES],  # in turns
        pytest.param([errno.ENOSPC], marks=pytest.mark.slow),
        pytest.param([errno.EIO], marks=pytest.mark.slow),
        pytest.param([errno.EACCES], marks=pytest.mark.slow),
    ],
    ids=lambda codes: "-".join(errno.errorcode[code] for code in codes),
)
def test_any_call_may_fail(step: Step, codes: list[int], tmp_path: Path):
    refused = set()
    for number in range(200):
        fault = Fault(number, codes[number % len(codes)])
        done = fails_at(fault, step, tmp_path / str(number))
        refused.add(fault.refused)
        if not fault.refused:
            break
    assert done
    assert refused >= {"create", "write", "fsync", "rename", ""}


def fails_at(fault: Fault, step: Step, path: Path) -> bool:
    """Whether a step was done in spite of a fault; where it was not, nothing of it is there.

    A fault behind the renaming of the manifest can no more undo the step, but may say that it is
    not safe yet; one in the removal of garbage says nothing.
    """
    storage = filled(path)
    before = held(storage)
    with pytest.MonkeyPatch.context() as patch:
        calls = Calls(patch, path, fault)
        said = ""
        try:
            take(storage, step)
        except OutputError as error:
            said = str(error)
    assert f"cannot write {path / 'text'}" in said or not said
    renamed = any(op.kind == "rename" and b"manifest" in op.value for op in calls.log)
    assert renamed or said
    assert not said or not renamed or fault.refused == "fsync"
    assert fault.refused != "write" or not (path / fault.path).exists()  # it may have filled a disk
    for state in (held(storage), held(VectorStorage(path))):
        assert state == (after(before, step) if renamed else before)
    assert_works_on(path)
    return not said


def test_the_first_step_of_all_may_fail(tmp_path: Path):
    for number in range(200):
        path, fault = tmp_path / str(number), Fault(number, errno.ENOSPC)
        with pytest.MonkeyPatch.context() as patch:
            Calls(patch, path, fault)
            try:
                put(VectorStorage(path), ["first"])
            except OutputError:
                assert fault.refused
        if not fault.refused:
            return
        assert_works_on(path)
    raise AssertionError


def test_a_step_is_done_though_merging_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    storage = VectorStorage(tmp_path)
    for i in range(7):
        put(storage, [str(i)])

    def full(op: Op) -> None:
        if op.kind == "write" and ".parquet.tmp" in op.path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        Calls(patch, tmp_path, full)
        with pytest.warns(NotMergedWarning, match="is done, but .* No space left on device"):
            put(storage, ["7"])
    assert len(held(storage)) == 8
    assert storage.get_storage_stats()["text"].fragments == 8
    put(storage, ["8"])
    assert storage.get_storage_stats()["text"].fragments == 1


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda to, data: write(to, bytes(data)[: len(data) // 2 + 1]))
    put(VectorStorage(tmp_path), IDS)
    assert len(held(VectorStorage(tmp_path))) == len(IDS)
    assert VectorStorage(tmp_path).verify() == []


def test_a_real_limit_is_an_error_and_no_hole(processes, tmp_path: Path):
    with processes.Pool(1) as pool:
        said, state = pool.apply(work.fill_a_small_disk, (tmp_path, 20_000))
    assert said[0] == said[2] == "stored"
    assert said[1].startswith(f"OutputError: cannot write {tmp_path / 'text'}: File too large")
    assert set(state) == {"1-0", "2-0", "2-1"}
    assert_works_on(tmp_path)


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*: Not a directory; choose another"):
        put(VectorStorage(tmp_path / "file"), ["one"])


def test_bad_input_leaves_no_folder(tmp_path: Path):
    with pytest.raises(InputError):
        VectorStorage(tmp_path / "new").store("text", ["a"], ["b"], [[float("nan")]])
    assert not (tmp_path / "new").exists()
