"""Downloads with the real huggingface_hub from a hub on this machine."""

import time
from pathlib import Path

import pytest

from llm_compression import convert
from tests.conversion import work
from tests.conversion.checkpoints import (
    move_into_subfolder,
    read_tensors,
    write_pickle,
    write_pickle_shards,
)
from tests.conversion.conftest import NAME, NEW, OLD, Call
from tests.conversion.hub_server import Hub, Repository, commit_hash
from tests.conversion.work import Converted


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
