"""Fixtures: checkpoints that a test may change, other processes, and a hub to download from."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from llm_compression import convert
from tests.conftest import CheckpointFactory
from tests.conversion import work
from tests.conversion.hub_server import Hub, Repository, commit_hash, serve

NAME = "someone/tiny"
OLD, NEW = commit_hash("old"), commit_hash("new")
NEVER_WANTED = ["tf_model.h5", "onnx/model.onnx", "README.md", "rust_model.ot", "pytorch_model.bin"]

Call = Callable[..., Any]


@pytest.fixture
def bert(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT."""
    return shutil.copytree(tiny_bert, tmp_path / "bert")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where to convert to: in a folder of its own, so that litter shows."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "model.parquet"


@pytest.fixture(scope="session")
def server() -> Iterator[Hub]:
    """A hub on this machine."""
    with serve() as running:
        yield running


@pytest.fixture
def hub(server: Hub, commits: dict[str, Path]) -> Hub:
    """The server, with one repository of two commits and no request seen yet."""
    server.repositories.clear()
    server.repositories[NAME] = Repository(commits, {"main": NEW, "v1": OLD})
    server.requests.clear()
    server.down = server.breaks = False
    return server


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of huggingface_hub, which all processes of the session share."""
    return tmp_path_factory.mktemp("hub-home")


@pytest.fixture(scope="session")
def environment(server: Hub, home: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": server.endpoint,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }


def caller(processes: ForkServerContext, environment: dict[str, str]) -> Iterator[Call]:
    """A function that calls another one in a process with this environment."""
    with ProcessPoolExecutor(
        1, mp_context=processes, initializer=work.set_environment, initargs=(environment,)
    ) as pool:
        yield lambda function, *args, **kwargs: pool.submit(function, *args, **kwargs).result()


@pytest.fixture(scope="session")
def _online(processes: ForkServerContext, environment: dict[str, str]) -> Iterator[Call]:
    yield from caller(processes, environment)


@pytest.fixture(scope="session")
def _offline(processes: ForkServerContext, environment: dict[str, str]) -> Iterator[Call]:
    yield from caller(processes, {**environment, "HF_HUB_OFFLINE": "1"})


@pytest.fixture
def online(hub: Hub, _online: Call) -> Call:
    """Calls a function in a process that downloads from `hub`."""
    return _online


@pytest.fixture
def offline(hub: Hub, _offline: Call) -> Call:
    """Calls a function in a process that was told to stay offline."""
    return _offline


@pytest.fixture
def unconnected(
    hub: Hub, processes: ForkServerContext, environment: dict[str, str]
) -> Iterator[Call]:
    """As `online`, in a process of its own, which has no connection open yet."""
    yield from caller(processes, environment)


@pytest.fixture(scope="session")
def commits(make_checkpoint: CheckpointFactory) -> dict[str, Path]:
    """Two commits of a repository, with files beside that nobody needs."""
    found = {OLD: make_checkpoint(seed=1), NEW: make_checkpoint(seed=2)}
    for folder in found.values():
        for name in NEVER_WANTED:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"not needed")
    return found


@pytest.fixture(scope="session")
def prints(commits: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Fingerprints of the commits, converted from their folders."""
    folder = tmp_path_factory.mktemp("local")
    return {sha: convert(path, folder / sha).fingerprint for sha, path in commits.items()}
