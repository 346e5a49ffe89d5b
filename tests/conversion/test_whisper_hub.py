"""Of a Whisper repository, which holds its weights many times over, what is needed is fetched."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from llm_compression import convert
from llm_compression.weights.reader import WeightTable
from tests.conversion import work
from tests.conversion.checkpoints import save_as, write_pickle
from tests.conversion.conftest import NEW, Call
from tests.conversion.hub_server import Hub, Repository
from tests.conversion.test_whisper_export import TOKENIZER_FILES
from tests.conversion.work import Converted

NAME = "someone/whisper"
# as the largest releases have them, beside model.safetensors in half precision
NEVER_NEEDED = [
    "model.fp32-00001-of-00002.safetensors",
    "model.fp32-00002-of-00002.safetensors",
    "pytorch_model.bin",
    "pytorch_model.fp32-00001-of-00002.bin",
    "flax_model.msgpack",
    "tf_model.h5",
    "README.md",
]
OWN = {"config.json", "preprocessor_config.json", "generation_config.json"}


@pytest.fixture
def fetch(online: Call, target: Path, tmp_path: Path) -> Callable[..., Converted]:
    """Converts the repository, with nothing in the cache."""
    cache = tmp_path / "fresh"
    return lambda **options: online(work.convert_from_hub, NAME, target, cache_dir=cache, **options)


@pytest.fixture
def repository(hub: Hub, tiny_whisper: Path, tmp_path: Path) -> Path:
    """The folder behind a repository that has the files of a large release."""
    folder: Path = shutil.copytree(tiny_whisper, tmp_path / "repository")
    for name in [*NEVER_NEEDED, *TOKENIZER_FILES]:  # like contents would be fetched once
        (folder / name).write_text(json.dumps({"this is": name}))
    hub.repositories[NAME] = Repository({NEW: folder}, {"main": NEW})
    return folder


def fetched(hub: Hub) -> set[str]:
    """The files that were fetched, but for texts."""
    return {name for name in hub.fetched() if not name.endswith((".json", ".txt"))}


def print_of(folder: Path, tmp_path: Path) -> str:
    return convert(folder, tmp_path / "local.parquet").fingerprint


def test_weights_in_another_precision_are_not_fetched(
    hub: Hub, repository: Path, fetch: Callable[..., Converted], tmp_path: Path
):
    assert fetch() == Converted(print_of(repository, tmp_path), NAME, NEW)
    assert fetched(hub) == {"model.safetensors"}


def test_shards_are_fetched(
    hub: Hub, repository: Path, fetch: Callable[..., Converted], tmp_path: Path
):
    save_as(repository, "WhisperForConditionalGeneration", max_shard_size="20KB")
    shards = {path.name for path in repository.glob("model-*.safetensors")}
    assert fetch() == Converted(print_of(repository, tmp_path), NAME, NEW)
    assert fetched(hub) == shards
    assert len(shards) > 2


def test_a_pickle_is_fetched_where_nothing_else_is(
    hub: Hub, repository: Path, fetch: Callable[..., Converted], tmp_path: Path
):
    tensors = load_file(repository / "model.safetensors")
    for path in repository.glob("*.safetensors"):
        path.unlink()
    write_pickle(repository, tensors)
    assert fetch() == Converted(print_of(repository, tmp_path), NAME, NEW)
    assert fetched(hub) == {"pytorch_model.bin"}


def test_a_decoder_comes_with_all_the_files_that_it_needs(
    repository: Path, fetch: Callable[..., Converted], target: Path
):
    fetch(keep_decoder=True)
    attached = {file.name for file in WeightTable(target).manifest.files}
    assert attached == OWN | set(TOKENIZER_FILES)
