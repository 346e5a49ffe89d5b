"""Every form in which weights are saved converts to the same model; broken files are named."""

import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from llm_compression import convert
from llm_compression.errors import CheckpointError, CheckpointNotFoundError
from llm_compression.weights.reader import WeightTable
from tests.conversion.checkpoints import (
    PICKLE,
    SINGLE,
    assert_same_bits,
    edit_json,
    read_tensors,
    write_pickle,
    write_pickle_shards,
    write_tensors,
)


def shard(folder: Path) -> list[str]:
    """Save the folder's model again, in shards, as transformers does."""
    model = AutoModel.from_pretrained(folder)
    (folder / SINGLE).unlink()
    model.save_pretrained(folder, max_shard_size="30KB")
    return sorted(path.name for path in folder.glob("*.safetensors"))


def bare_pickle(folder: Path) -> None:
    write_pickle(folder, read_tensors(folder), zipped=False)


def zipped_pickle(folder: Path) -> None:
    write_pickle(folder, read_tensors(folder))


def ordered_parameters(folder: Path) -> None:
    """What `torch.save(model.state_dict())` gave with parameters and metadata kept."""
    state = OrderedDict((n, torch.nn.Parameter(t)) for n, t in read_tensors(folder).items())
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    write_pickle(folder, state)


def views_of_one_storage(folder: Path) -> None:
    """Tensors that are not contiguous and begin within a larger storage."""
    tensors = {n: torch.stack([t, t], -1)[..., 1] for n, t in read_tensors(folder).items()}
    write_pickle(folder, tensors)


FORMS: list[Callable[[Path], object]] = [
    shard,
    zipped_pickle,
    bare_pickle,
    ordered_parameters,
    views_of_one_storage,
    lambda folder: write_pickle_shards(folder, read_tensors(folder), 3),
]


@pytest.mark.parametrize("rewrite", FORMS)
def test_every_form_is_the_same_model(
    rewrite: Callable[[Path], object], bert: Path, tiny_table: Path, target: Path
):
    source = read_tensors(bert)
    rewrite(bert)
    report = convert(bert, target)
    assert_same_bits(target, source)
    assert report.fingerprint == WeightTable(tiny_table).fingerprint


def test_provenance_names_each_shard_with_its_sum(bert: Path, target: Path):
    shards = shard(bert)
    assert len(shards) > 2
    report = convert(bert, target)
    files = WeightTable(target).manifest.provenance.files
    assert [file.name for file in files] == shards
    assert report.source_bytes == sum((bert / name).stat().st_size for name in shards)


def test_safetensors_come_before_a_pickle(bert: Path, target: Path):
    (bert / PICKLE).write_bytes(b"not looked at")
    convert(bert, target)
    assert [f.name for f in WeightTable(target).manifest.provenance.files] == [SINGLE]


def refuse(bert: Path, target: Path, *words: str) -> str:
    """The one error of the conversion, which names these and leaves nothing behind."""
    with pytest.raises(CheckpointError) as caught:
        convert(bert, target)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert list(target.parent.iterdir()) == []
    return message


class Payload:
    """Unpickled, it would leave a file behind."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_does_not_run(bert: Path, target: Path, tmp_path: Path, zipped: bool):
    proof = tmp_path / "proof"
    write_pickle(bert, {**read_tensors(bert), "evil": Payload(proof)}, zipped=zipped)
    refuse(bert, target, PICKLE)
    assert not proof.exists()


def test_a_bare_pickle_of_code_does_not_run(bert: Path, target: Path, tmp_path: Path):
    proof = tmp_path / "proof"
    (bert / SINGLE).unlink()
    content = pickle.dumps(Payload(proof))
    (bert / PICKLE).write_bytes(content)
    refuse(bert, target, PICKLE)
    assert not proof.exists()
    pickle.loads(content)
    assert proof.exists(), "the payload was a dud"


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.zeros(3), {"state": {"a": 1}}])
def test_a_pickle_of_something_else(content: object, bert: Path, target: Path):
    write_pickle(bert, content)
    refuse(bert, target, PICKLE, "is not a state dict of tensors")


GARBAGE = [
    b"",
    b"x",
    b"PK\x03\x04 not really",
    b"\x80\x02}q\x00.",
    os.urandom(10_000),
    b"\xff" * 64,
]


@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_in_place_of_a_pickle(content: bytes, bert: Path, target: Path):
    (bert / SINGLE).unlink()
    (bert / PICKLE).write_bytes(content)
    refuse(bert, target)


@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_in_place_of_safetensors(content: bytes, bert: Path, target: Path):
    (bert / SINGLE).write_bytes(content)
    refuse(bert, target, str(bert / SINGLE))


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.999])
def test_safetensors_cut_short(share: float, bert: Path, target: Path):
    content = (bert / SINGLE).read_bytes()
    (bert / SINGLE).write_bytes(content[: int(len(content) * share)])
    refuse(bert, target, str(bert / SINGLE))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_pickle_cut_short(share: float, bert: Path, target: Path):
    zipped_pickle(bert)
    content = (bert / PICKLE).read_bytes()
    (bert / PICKLE).write_bytes(content[: int(len(content) * share)])
    refuse(bert, target, str(bert / PICKLE))


def test_a_missing_shard(bert: Path, target: Path):
    shards = shard(bert)
    (bert / shards[1]).unlink()
    refuse(bert, target, f"{SINGLE}.index.json", f"{shards[1]!r}, which is not there")


def test_a_damaged_shard(bert: Path, target: Path):
    shards = shard(bert)
    (bert / shards[1]).write_bytes(b"garbage")
    refuse(bert, target, shards[1])


def test_an_index_with_tensors_that_no_shard_has(bert: Path, target: Path):
    shards = shard(bert)
    index = bert / f"{SINGLE}.index.json"
    weights = json.loads(index.read_text())["weight_map"]
    edit_json(index, weight_map={**weights, "ghost.a": shards[0], "ghost.b": shards[1]})
    refuse(bert, target, "no shard has", "ghost.a", "ghost.b")


def test_a_tensor_in_two_shards(bert: Path, target: Path):
    tensors = read_tensors(bert)
    write_pickle_shards(bert, tensors, 2)
    second = bert / "pytorch_model-00002-of-00002.bin"
    first_name = next(iter(tensors))
    torch.save({**torch.load(second), first_name: tensors[first_name]}, second)
    refuse(bert, target, f"tensor {first_name} is in both")


@pytest.mark.parametrize("place", ["../elsewhere.safetensors", "/etc/hostname", "a/b.safetensors"])
def test_an_index_that_points_outside(place: str, bert: Path, target: Path):
    shard(bert)
    (bert.parent / "elsewhere.safetensors").write_bytes(b"")
    edit_json(bert / f"{SINGLE}.index.json", weight_map={"a": place})
    refuse(bert, target, f"{SINGLE}.index.json", place)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}']
)
def test_an_index_that_is_none(content: str, bert: Path, target: Path):
    shard(bert)
    (bert / f"{SINGLE}.index.json").write_text(content)
    refuse(bert, target, f"{SINGLE}.index.json")


def test_an_empty_index(bert: Path, target: Path):
    shard(bert)
    edit_json(bert / f"{SINGLE}.index.json", weight_map={})
    refuse(bert, target, "missing: text.embeddings.token")


@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8, torch.bool])
@pytest.mark.parametrize("pickled", [True, False])
def test_a_dtype_that_the_format_has_not(
    dtype: torch.dtype, pickled: bool, bert: Path, target: Path
):
    name = "encoder.layer.1.output.dense.bias"
    tensors = {**read_tensors(bert), name: torch.ones(64 // 2, dtype=dtype)}
    if pickled:
        write_pickle(bert, tensors)
    else:
        write_tensors(bert, tensors)
    refuse(bert, target, name, str(dtype).removeprefix("torch."), "float32, float16, bfloat16")


def test_a_strange_dtype_may_be_dropped(bert: Path, target: Path):
    ids = {"embeddings.position_ids": torch.arange(40, dtype=torch.float64)}
    write_tensors(bert, {**read_tensors(bert), **ids})
    assert len(convert(bert, target).dropped) == 1


def missing(folder: Path, target: Path, *words: str) -> None:
    with pytest.raises(CheckpointNotFoundError) as caught:
        convert(folder, target)
    for word in words:
        assert word in str(caught.value)
    assert list(target.parent.iterdir()) == []


def test_no_config(bert: Path, target: Path):
    (bert / "config.json").unlink()
    missing(bert, target, f"{bert} has no config.json")


def test_no_weights(bert: Path, target: Path):
    (bert / SINGLE).unlink()
    missing(bert, target, f"{bert} has no weights", SINGLE, PICKLE)


def test_no_folder(tmp_path: Path, target: Path):
    missing(tmp_path / "nowhere", target, f"{tmp_path / 'nowhere'}", "hub id")


def test_a_file_is_no_checkpoint(bert: Path, target: Path):
    missing(bert / SINGLE, target, str(bert / SINGLE), "give a folder")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"3", b'{"a":' * 100_000])
def test_a_config_that_is_no_json_object(content: bytes, bert: Path, target: Path):
    (bert / "config.json").write_bytes(content)
    refuse(bert, target, str(bert / "config.json"))


@pytest.mark.parametrize("odd", [torch.zeros(4, 4).to_sparse(), torch.zeros(4, 4, device="meta")])
def test_a_pickle_of_tensors_without_values_in_a_row(odd: torch.Tensor, bert: Path, target: Path):
    tensors = read_tensors(bert)
    write_pickle(bert, {**tensors, "pooler.dense.weight": odd})
    refuse(bert, target, PICKLE, "is not a state dict of tensors")


def test_a_name_that_is_no_text(bert: Path, target: Path):
    write_pickle(bert, {**read_tensors(bert), 7: torch.zeros(1)})
    refuse(bert, target, PICKLE, "is not a state dict of tensors")
