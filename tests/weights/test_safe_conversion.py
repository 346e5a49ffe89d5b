"""Conversions that are killed, starved of space or run side by side never leave half a file."""

import errno
import os
import random
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from llm_compression.conversion.convert import convert
from llm_compression.errors import ConversionError, OutputError, TargetBusyError
from llm_compression.weights.reader import WeightTable
from tests.weights import work

SHORT, FULL = 10, 100


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "model.parquet"


@pytest.fixture(autouse=True)
def _folder(target: Path) -> None:
    target.parent.mkdir()


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def fingerprint(target: Path) -> str:
    """The model's name, after a look at every byte."""
    table = WeightTable(target)
    table.verify_all()
    return table.fingerprint


def kill_during(start, source: Path, target: Path, delay: float) -> None:
    """SIGKILL a conversion ``delay`` seconds after its start."""
    pipe, process = start(work.convert_when_told, source, target)
    assert pipe.recv() == "ready"
    time.sleep(delay)
    process.kill()
    process.join()


def kill_often(start, checkpoints: list[Path], target: Path, *, kills: int) -> None:
    """Old and new model take turns, so that a target of either, or none, is there before."""
    truth = [convert(source, target).fingerprint for source in checkpoints]
    began = time.monotonic()
    convert(checkpoints[0], target)
    duration = time.monotonic() - began
    rng, leftovers, state = random.Random(kills), 0, {truth[0]}
    for i in range(kills):
        if i % 3 == 2:
            target.unlink()
            state = set()
        kill_during(start, checkpoints[i % 2], target, rng.uniform(0, 1.5 * duration))
        leftovers += len([name for name in names(target) if name != target.name])
        if target.exists():
            assert fingerprint(target) in state | {truth[i % 2]}
        else:
            assert not state
        state = {convert(checkpoints[1 - i % 2], target).fingerprint}
        assert names(target) == [target.name]
        assert {fingerprint(target)} == state == {truth[1 - i % 2]}
    assert leftovers, "no kill struck while the file was being written"


@pytest.fixture(scope="session")
def two_models(make_checkpoint) -> list[Path]:
    """Two checkpoints that take long enough to write for a kill to strike."""
    size = {"vocab_size": 8000, "hidden_size": 64}
    return [make_checkpoint(seed=seed, pooling=None, **size) for seed in (1, 2)]


def test_killed_at_random_moments(start, two_models: list[Path], target: Path):
    kill_often(start, two_models, target, kills=SHORT)


@pytest.mark.slow
def test_killed_at_a_hundred_random_moments(start, two_models: list[Path], target: Path):
    kill_often(start, two_models, target, kills=FULL)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_disk_that_fills_while_writing(
    processes: ForkServerContext, tiny_bert: Path, tiny_table: Path, target: Path, share: float
):
    target.write_bytes(b"old")
    limit = int(tiny_table.stat().st_size * share)
    with ProcessPoolExecutor(1, mp_context=processes) as pool:
        said = pool.submit(work.convert_on_a_small_disk, tiny_bert, target, limit).result()
    assert said.startswith(f"OutputError: cannot write {target}: ")
    assert "free space there or choose another place" in said
    assert names(target) == [target.name]
    assert target.read_bytes() == b"old"


def test_a_disk_that_fills_at_the_last_moment(
    tiny_bert: Path, target: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot write .*No space left .*free space"):
        convert(tiny_bert, target)
    assert names(target) == []


def test_a_second_converter_is_refused_while_the_first_goes_on(tiny_bert: Path, target: Path):
    writing, go_on = threading.Event(), threading.Event()

    def pause(step: str, done: int, total: int) -> None:
        writing.set()
        assert go_on.wait(30)

    first = threading.Thread(target=convert, args=(tiny_bert, target), kwargs={"progress": pause})
    first.start()
    assert writing.wait(30)
    with pytest.raises(TargetBusyError, match=rf"{target.name} is being written"):
        convert(tiny_bert, target)
    assert not target.exists()
    go_on.set()
    first.join()
    fingerprint(target)
    assert names(target) == [target.name]


def test_converters_that_start_together(
    processes: ForkServerContext, tiny_bert: Path, tiny_table: Path, target: Path
):
    truth = WeightTable(tiny_table).fingerprint
    with ProcessPoolExecutor(4, mp_context=processes) as pool:
        moment = time.monotonic() + 1
        runs = [pool.submit(work.convert_at, moment, tiny_bert, target) for _ in range(4)]
        outcomes = {run.result() for run in runs}
    assert truth in outcomes
    assert outcomes <= {truth, "TargetBusyError"}
    assert fingerprint(target) == truth
    assert names(target) == [target.name]


def test_a_folder_that_is_not_there(tiny_bert: Path, target: Path):
    with pytest.raises(ConversionError, match=r"no folder .*nowhere to write model\.parquet into"):
        convert(tiny_bert, target.parent / "nowhere" / "model.parquet")
