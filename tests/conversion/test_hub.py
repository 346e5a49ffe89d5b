"""Downloads with the real huggingface_hub from a hub on this machine, then offline."""

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_compression import ArrowEngine, convert
from llm_compression.conversion.hub import is_hub_id
from tests.conftest import CheckpointFactory
from tests.conversion import work
from tests.conversion.checkpoints import (
    move_into_subfolder,
    read_tensors,
    write_pickle,
    write_pickle_shards,
)
from tests.conversion.hub_server import Hub, Repository, commit_hash, serve
from tests.conversion.work import Converted, Opened

NAME = "someone/tiny"
OLD, NEW = commit_hash("old"), commit_hash("new")
NEVER_WANTED = ["tf_model.h5", "onnx/model.onnx", "README.md", "rust_model.ot", "pytorch_model.bin"]

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serve() as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of huggingface_hub, which all processes of this module share."""
    return tmp_path_factory.mktemp("hub-home")


@pytest.fixture(scope="module")
def environment(hub: Hub, home: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.endpoint,
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


@pytest.fixture(scope="module")
def online(processes: ForkServerContext, environment: dict[str, str]) -> Iterator[Call]:
    yield from caller(processes, environment)


@pytest.fixture(scope="module")
def offline(processes: ForkServerContext, environment: dict[str, str]) -> Iterator[Call]:
    yield from caller(processes, {**environment, "HF_HUB_OFFLINE": "1"})


@pytest.fixture
def unconnected(processes: ForkServerContext, environment: dict[str, str]) -> Iterator[Call]:
    """As `online`, with no connection open yet."""
    yield from caller(processes, environment)


@pytest.fixture(scope="module")
def commits(
    make_checkpoint: CheckpointFactory, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Two commits of a repository, with files beside that nobody needs."""
    found = {OLD: make_checkpoint(seed=1), NEW: make_checkpoint(seed=2)}
    for folder in found.values():
        for name in NEVER_WANTED:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"not needed")
    return found


@pytest.fixture(autouse=True)
def _repository(hub: Hub, commits: dict[str, Path]) -> None:
    hub.repositories.clear()
    hub.repositories[NAME] = Repository(commits, {"main": NEW, "v1": OLD})
    hub.requests.clear()
    hub.down = hub.breaks = False


@pytest.fixture(scope="module")
def prints(commits: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Fingerprints of the commits, converted from their folders."""
    folder = tmp_path_factory.mktemp("local")
    return {sha: convert(path, folder / sha).fingerprint for sha, path in commits.items()}


@pytest.mark.parametrize(("revision", "commit"), [(None, NEW), ("v1", OLD), (OLD, OLD)])
def test_a_revision(
    revision: str | None, commit: str, online: Call, prints: dict[str, str], target: Path
):
    found = online(work.convert_from_hub, NAME, target, revision=revision)
    assert found == Converted(prints[commit], NAME, commit)


def test_only_what_is_needed_is_fetched(online: Call, hub: Hub, target: Path, tmp_path: Path):
    online(work.convert_from_hub, NAME, target, cache_dir=tmp_path / "fresh")
    assert hub.fetched() == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "modules.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
    }
    assert [path.name for path in (tmp_path / "fresh").iterdir() if path.name.startswith("models")]


@pytest.mark.parametrize("shards", [1, 3])
def test_a_pickle_is_fetched_where_nothing_else_is(
    shards: int, online: Call, hub: Hub, bert: Path, target: Path
):
    print_ = convert(bert, target).fingerprint
    if shards == 1:
        write_pickle(bert, read_tensors(bert))
    else:
        write_pickle_shards(bert, read_tensors(bert), shards)
    commit = commit_hash(f"{shards} shards")
    name = f"someone/pickled-{shards}"
    hub.repositories[name] = Repository({commit: bert}, {"main": commit})
    found = online(work.convert_from_hub, name, target)
    assert found == Converted(print_, name, commit)
    assert sum(name.endswith(".bin") for name in hub.fetched()) == shards
    again = online(work.convert_from_hub, name, target, local_files_only=True)
    assert again == found


def test_a_model_in_a_subfolder(online: Call, hub: Hub, bert: Path, target: Path):
    print_ = convert(bert, target).fingerprint
    move_into_subfolder(bert)
    hub.repositories["someone/old"] = Repository({OLD: bert}, {"main": OLD})
    found = online(work.convert_from_hub, "someone/old", target)
    assert found == Converted(print_, "someone/old", OLD)


def test_a_private_repository_needs_its_token(
    online: Call, hub: Hub, commits: dict[str, Path], prints: dict[str, str], target: Path
):
    name = "someone/private"
    hub.repositories[name] = Repository(commits, {"main": NEW}, token="hf_secret")
    for token in (None, "hf_wrong", False):
        said = online(work.convert_from_hub, name, target, token=token)
        assert said.startswith("CheckpointNotFoundError: ")
        assert "HF_TOKEN" in said
        assert "hf_" not in said
    assert hub.fetched() == set()
    expected = Converted(prints[NEW], name, NEW)
    assert online(work.convert_from_hub, name, target, token="hf_secret") == expected
    found = online(work.convert_with_token_in_environment, name, target, "hf_secret")
    assert found == expected


def test_an_unknown_repository(online: Call, target: Path):
    started = time.monotonic()
    said = online(work.convert_from_hub, "someone/nothing", target)
    assert time.monotonic() - started < 5
    assert said.startswith("CheckpointNotFoundError: no folder someone/nothing here")
    assert len(said.splitlines()) == 1
    assert list(target.parent.iterdir()) == []


def test_an_unknown_revision(online: Call, target: Path):
    said = online(work.convert_from_hub, NAME, target, revision="v9")
    assert said.startswith("CheckpointNotFoundError: ")
    assert "at revision v9" in said


def test_a_repository_without_a_model(online: Call, hub: Hub, tmp_path: Path, target: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README.md").write_text("nothing here")
    hub.repositories["someone/empty"] = Repository({OLD: tmp_path / "empty"}, {"main": OLD})
    said = online(work.convert_from_hub, "someone/empty", target)
    assert said.startswith("CheckpointNotFoundError: ")


def test_without_the_network_the_cache_serves(
    online: Call, offline: Call, hub: Hub, prints: dict[str, str], target: Path
):
    for revision in (None, "v1"):
        online(work.convert_from_hub, NAME, target, revision=revision)
    hub.requests.clear()
    for revision, commit in {None: NEW, "v1": OLD, OLD: OLD}.items():
        expected = Converted(prints[commit], NAME, commit)
        assert offline(work.convert_from_hub, NAME, target, revision=revision) == expected
        found = online(
            work.convert_from_hub, NAME, target, revision=revision, local_files_only=True
        )
        assert found == expected
    assert hub.requests == []


def test_without_the_network_and_the_cache(online: Call, offline: Call, hub: Hub, target: Path):
    for call, options in ((offline, {}), (online, {"local_files_only": True})):
        said = call(work.convert_from_hub, "someone/never-seen", target, **options)
        assert said.startswith("CheckpointNotFoundError: no folder someone/never-seen here")
        assert "HF_HUB_OFFLINE" in said
    assert hub.requests == []


def test_a_hub_that_is_down(online: Call, hub: Hub, prints: dict[str, str], target: Path):
    online(work.convert_from_hub, NAME, target)
    hub.down = True
    assert online(work.convert_from_hub, NAME, target) == Converted(prints[NEW], NAME, NEW)
    said = online(work.convert_from_hub, "someone/else", target)
    assert said.startswith("CheckpointNotFoundError: ")


def test_a_connection_that_breaks(
    online: Call, hub: Hub, commits: dict[str, Path], prints: dict[str, str], target: Path
):
    name = "someone/far-away"
    hub.repositories[name] = Repository(commits, {"main": NEW})
    hub.breaks = True
    said = online(work.convert_without_patience, name, target)
    assert said.startswith(f"CheckpointNotFoundError: no folder {name} here")
    assert list(target.parent.iterdir()) == []
    hub.breaks = False
    assert online(work.convert_from_hub, name, target) == Converted(prints[NEW], name, NEW)


def test_an_engine_converts_once(online: Call, offline: Call, hub: Hub, tmp_path: Path):
    cache = tmp_path / "cache"
    first = online(work.open_engine, NAME, cache)
    assert isinstance(first, Opened)
    assert first.path.is_relative_to(cache)
    assert NEW in first.path.name
    assert online(work.open_engine, NAME, cache) == first
    assert online(work.open_engine, NAME, cache, local_files_only=True) == first
    assert offline(work.open_engine, NAME, cache) == first


def test_an_engine_follows_the_revision(
    online: Call, hub: Hub, commits: dict[str, Path], tmp_path: Path
):
    cache = tmp_path / "cache"
    name = "someone/moving"
    hub.repositories[name] = Repository(commits, {"main": OLD})
    before = online(work.open_engine, name, cache)
    hub.repositories[name].names["main"] = NEW
    after = online(work.open_engine, name, cache)
    for opened, sha in ((before, OLD), (after, NEW)):
        own = ArrowEngine.from_pretrained(commits[sha]).encode("the cat sits")
        np.testing.assert_array_equal(np.float32(opened.embedding), own)
        assert sha in opened.path.name
    assert before.embedding != after.embedding


def test_the_command_line(online: Call, prints: dict[str, str], target: Path):
    command = ["convert", NAME, str(target), "--revision", "v1"]
    assert online(work.run_command, command) == 0
    assert ArrowEngine(target).fingerprint == prints[OLD]
    assert online(work.run_command, [*command, "--offline"]) == 0
    assert online(work.run_command, ["convert", "someone/nothing", str(target)]) == 1


def test_a_path_never_touches_the_network(
    unconnected: Call, hub: Hub, tiny_bert: Path, tiny_table: Path, tmp_path: Path
):
    folder = shutil.copytree(tiny_bert, tmp_path / "saved")
    shutil.copy(tiny_table, folder / "model.parquet")
    for path in (tiny_bert, str(tiny_bert), tiny_table, folder):
        assert isinstance(unconnected(work.open_without_sockets, path, tmp_path / "cache"), Opened)
    for path in (
        tmp_path / "nowhere",
        tmp_path / "nowhere.parquet",
        "./nowhere",
        "nowhere.parquet",
    ):
        said = unconnected(work.open_without_sockets, path, tmp_path / "cache")
        assert said.startswith("CheckpointNotFoundError: ")
    assert hub.requests == []
    said = unconnected(work.open_without_sockets, "someone/else", tmp_path / "cache")
    assert "socket" in said or "looked up" in said, "the guard is a dud"


def test_a_folder_comes_before_a_repository_of_its_name(
    online: Call, hub: Hub, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(tiny_bert, tmp_path / NAME)
    monkeypatch.chdir(tmp_path)
    convert(NAME, tmp_path / "model.parquet")
    engine = ArrowEngine.from_pretrained(NAME)
    assert engine.fingerprint == ArrowEngine(tmp_path / "model.parquet").fingerprint
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("gpt2", True),
        ("sentence-transformers/all-MiniLM-L6-v2", True),
        ("BAAI/bge-small-en-v1.5", True),
        ("a/b/c", False),
        ("./a", False),
        ("../a", False),
        ("/a", False),
        ("~/a", False),
        ("a/", False),
        ("", False),
        ("a b", False),
        ("a\n", False),
        ("model.parquet", False),
        ("folder/model.safetensors", False),
        (Path("owner/name"), False),
    ],
)
def test_what_looks_like_an_id(name: str | Path, is_one: bool):
    assert is_hub_id(name) is is_one
