"""What was downloaded serves again, offline too; what is local never touches the network."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from llm_compression import ArrowEngine, convert
from llm_compression.conversion.hub import is_hub_id
from tests.conversion import work
from tests.conversion.conftest import NAME, NEW, OLD, Call
from tests.conversion.hub_server import Hub, Repository
from tests.conversion.work import Converted, Opened


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


def test_an_engine_converts_once(online: Call, offline: Call, tmp_path: Path):
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
