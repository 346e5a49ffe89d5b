"""The comparison of runtimes: its inputs, its verdict on results, and its processes."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.case import WrongResultError
from benchmarks.process import ProgramError
from benchmarks.runtimes.process import Worker
from benchmarks.runtimes.section import check, measure
from benchmarks.runtimes.works import OPENING, WORKS, inputs

TEXTS = WORKS["MiniLM 32x32"]


def keep(folder: Path, runtime: str, kind: str, vectors: np.ndarray) -> None:
    np.save(Worker.output(folder, runtime, kind, TEXTS.name), vectors)


def test_inputs_are_the_same_each_time(tmp_path: Path) -> None:
    ids = inputs(TEXTS, tmp_path)
    assert ids.shape == (32, 32)
    assert np.array_equal(ids, inputs(TEXTS, tmp_path))
    assert inputs(WORKS["ViT-B/32, 8"], tmp_path).shape == (8, 3, 224, 224)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_a_runtime_that_is_wrong_has_no_time(kind: str, tmp_path: Path) -> None:
    exact = np.eye(4, 8, dtype=np.float32) + 0.1
    keep(tmp_path, "ours", "float32", exact)
    keep(tmp_path, "openvino", kind, exact * 2)
    assert check(TEXTS, tmp_path, ("openvino", kind)).endswith("1.000000")
    keep(tmp_path, "openvino", kind, exact + np.linspace(0, 0.2, 8, dtype=np.float32))
    with pytest.raises(WrongResultError, match=rf"\('openvino', '{kind}'\) of MiniLM 32x32 is off"):
        check(TEXTS, tmp_path, ("openvino", kind))
    keep(tmp_path, "openvino", kind, np.full_like(exact, np.nan))
    with pytest.raises(WrongResultError):
        check(TEXTS, tmp_path, ("openvino", kind))


def test_the_loss_of_int8_is_stated(tmp_path: Path) -> None:
    exact = np.eye(4, 8, dtype=np.float32)
    keep(tmp_path, "ours", "float32", exact)
    keep(tmp_path, "onnxruntime", "int8", exact + 0.2)
    said = check(TEXTS, tmp_path, ("onnxruntime", "int8"))
    assert said.startswith("cosine of onnxruntime, int8 to float32 at least 0.9")


@pytest.fixture
def tiny(tiny_bert: Path, tiny_table: Path, tmp_path: Path) -> Path:
    """A folder in which MiniLM is a tiny model."""
    (tmp_path / "minilm").symlink_to(tiny_bert)
    (tmp_path / "minilm.parquet").symlink_to(tiny_table)
    return tmp_path


def test_a_process_is_stopped_between_its_turns(tiny: Path) -> None:
    worker = Worker("ours", "float32", OPENING.name, tiny)
    worker.ready()
    try:
        status = Path(f"/proc/{worker._process.pid}/status")
        for _ in range(2):
            while "State:\tT" not in status.read_text():
                time.sleep(0.01)
            assert worker() > 0
    finally:
        worker.close()
    assert worker._process.returncode == -signal.SIGKILL
    assert np.load(Worker.output(tiny, "ours", "float32", OPENING.name)).shape == (1, 32)


def test_a_workload_becomes_a_section(tiny: Path) -> None:
    section = measure(OPENING, tiny, {"minilm": "a tiny model"}, None, quick=True)
    assert {cell: len(times) for cell, times in section.samples.items()} == {
        ("llm_compression", "float32"): 3,
        ("transformers", "float32"): 3,
    }
    assert section.note.startswith("a tiny model; ")
    assert len(section.claims) == len(section.checks) == 1


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="KeyError"):
        Worker("ours", "float32", "no such work", tmp_path).ready()
