"""The memory that a search takes beside the mapped files does not grow with the rows."""

import re
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

from llm_compression.memory.storage.dataset import SIDECARS
from llm_compression.memory.vector_reader import VectorReader
from tests.memory.search.reference import random, stored

N, D = 100_000, 512  # 195 MiB of vectors, 49 MiB as int8
MIB = 1 << 20
ALLOWED = {"exact": 96, "int8": 120, "binary": 96}  # MiB, of which a block of scores is 32


def used() -> int:
    """Bytes that a process may write to: what is mapped from a file is not among them."""
    (kib,) = re.findall(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kib) * 1024


def limited(pipe, path: Path, method: str, more: int) -> None:
    """Searches by one query and by many, under a limit of so many bytes beside those used."""
    storage, queries = VectorReader(path), np.random.default_rng(3).normal(size=(100, D))
    for warm in (queries[:1], queries[:4]):  # threads and their buffers, the open files
        storage.search(warm, method=method)
    limit = used() + more
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        pipe.send([len(storage.search(q, method=method)) for q in (queries[0], queries)])
    except MemoryError:
        pipe.send("too little memory")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = stored(tmp_path_factory.mktemp("large"), random(N, D))
    for method in ALLOWED:
        storage.prepare_search("text", method=method)
    return storage.path


@pytest.mark.parametrize("method", ALLOWED)
def test_a_search_takes_a_few_blocks_of_scores(start, path: Path, method: str) -> None:
    pipe, _ = start(limited, path, method, ALLOWED[method] * MIB)
    assert pipe.recv() == [10, 100]


def preparing(pipe, path: Path, small: Path, more: int) -> None:
    """Makes a twin under a limit of so many bytes beside those used."""
    VectorReader(small).prepare_search("text")
    limit = used() + more
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        VectorReader(path).prepare_search("text")
        pipe.send("made")
    except MemoryError:  # Arrow's is one as well
        pipe.send("too little memory")


def test_making_a_twin_takes_little_more_than_two_files(start, path: Path, tmp_path: Path) -> None:
    small = stored(tmp_path / "small", random(5000, D)).path
    bare = shutil.copytree(path, tmp_path / "bare", ignore=shutil.ignore_patterns(SIDECARS))
    pipe, _ = start(preparing, bare, small, 420 * MIB)
    assert pipe.recv() == "made"


def test_the_limit_is_felt(start, path: Path) -> None:
    pipe, _ = start(limited, path, "exact", 8 * MIB)
    assert pipe.recv() == "too little memory"
