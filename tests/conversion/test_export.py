"""A weight table goes back to a folder that transformers and sentence-transformers load."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_compression import convert, export
from llm_compression.errors import (
    ConversionError,
    CorruptWeightTableError,
    LLMCompressionError,
    OutputError,
    WeightTableNotFoundError,
)
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import FileRole
from llm_compression.weights.writer import WeightWriter
from tests.conftest import CheckpointFactory
from tests.conversion import work
from tests.conversion.checkpoints import (
    bits,
    move_into_subfolder,
    read_tensors,
    save_as,
    write_tensors,
)
from tests.weights.weight_tables import PROVENANCE, SPEC, every_dtype

TEXTS = ["the cat sits on a mat.", "a", "", "unable dogs run in the park, red and blue"]


@pytest.fixture
def folder(target: Path) -> Path:
    """Where to export to."""
    return target.parent / "exported"


def assert_same_tensors(folder: Path, source: Path) -> None:
    ours, theirs = read_tensors(folder), read_tensors(source)
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert ours[name].shape == tensor.shape
        assert bits(ours[name]) == bits(tensor), name


def hidden(folder: Path) -> torch.Tensor:
    """transformers' own output for some token ids."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.tensor([[2, 8, 9, 3], [2, 40, 3, 0]])
    with torch.no_grad():
        return model(ids, attention_mask=(ids != 0).long()).last_hidden_state


def embeddings(folder: Path) -> np.ndarray:
    """sentence-transformers' own output."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "distilbert"])
def test_transformers_loads_the_same_model(
    model_type: str, make_checkpoint: CheckpointFactory, target: Path, folder: Path
):
    source = make_checkpoint(model_type)
    assert export(convert(source, target).path, folder) == folder
    assert_same_tensors(folder, source)
    assert torch.equal(hidden(folder), hidden(source))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_sentence_transformers_loads_the_same_model(
    pooling: str, make_checkpoint: CheckpointFactory, target: Path, folder: Path
):
    prompts = {"query": "query: ", "passage": ""}
    source = make_checkpoint(pooling=pooling, prompts=prompts, max_seq_length=9)
    export(convert(source, target).path, folder)
    np.testing.assert_array_equal(embeddings(folder), embeddings(source))
    for name in ("config_sentence_transformers.json", "sentence_bert_config.json", "modules.json",
                 "1_Pooling/config.json", "config.json", "tokenizer.json"):  # fmt: skip
        assert (folder / name).read_bytes() == (source / name).read_bytes()


def test_a_model_without_modules(make_checkpoint: CheckpointFactory, target: Path, folder: Path):
    source = make_checkpoint(pooling=None)
    export(convert(source, target).path, folder)
    assert not (folder / "modules.json").exists()
    np.testing.assert_array_equal(embeddings(folder), embeddings(source))


def test_a_model_in_a_subfolder(bert: Path, target: Path, folder: Path):
    """Every file goes back to where modules.json says it is."""
    inner = move_into_subfolder(bert)
    export(convert(bert, target).path, folder)
    assert_same_tensors(folder / "0_Transformer", inner)
    np.testing.assert_array_equal(embeddings(folder), embeddings(bert))


def test_what_was_dropped_is_not_there_and_all_else_is(bert: Path, target: Path, folder: Path):
    source = save_as(bert, "BertForMaskedLM")
    report = convert(bert, target)
    export(target, folder)
    gone = {line.partition(": ")[0] for line in report.dropped}
    assert set(read_tensors(folder)) == set(source) - gone
    assert gone
    assert all(bits(t) == bits(source[n]) for n, t in read_tensors(folder).items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_smaller_types(dtype: torch.dtype, bert: Path, target: Path, folder: Path):
    write_tensors(bert, {name: t.to(dtype) for name, t in read_tensors(bert).items()})
    export(convert(bert, target).path, folder)
    assert_same_tensors(folder, bert)


def test_there_and_back_again_is_the_same_model(tiny_table: Path, target: Path, folder: Path):
    again = convert(export(tiny_table, folder), target)
    assert again.fingerprint == WeightTable(tiny_table).fingerprint


def test_an_empty_folder_will_do(tiny_table: Path, folder: Path):
    folder.mkdir()
    export(tiny_table, folder)
    assert (folder / "model.safetensors").is_file()
    assert folder.stat().st_mode & 0o777 == 0o755


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["own.txt", ".hidden"])
def test_a_folder_with_something_in_it_is_refused(name: str, tiny_table: Path, folder: Path):
    folder.mkdir()
    (folder / name).write_text("mine")
    with pytest.raises(ConversionError, match=r"exists and is not an empty folder; choose another"):
        export(tiny_table, folder)
    assert contents(folder.parent) == {f"exported/{name}": b"mine"}


def test_a_file_is_no_folder(tiny_table: Path, folder: Path):
    folder.write_text("mine")
    with pytest.raises(ConversionError, match="not an empty folder"):
        export(tiny_table, folder)
    with pytest.raises(OutputError, match="cannot write"):
        export(tiny_table, folder / "inside")
    assert contents(folder.parent) == {"exported": b"mine"}


def test_no_such_model(folder: Path, tmp_path: Path):
    with pytest.raises(WeightTableNotFoundError, match=r"nothing\.parquet"):
        export(tmp_path / "nothing.parquet", folder)
    assert contents(folder.parent) == {}


def test_a_damaged_model_leaves_nothing(tiny_table: Path, target: Path, folder: Path):
    content = bytearray(tiny_table.read_bytes())
    stored = WeightTable(tiny_table).manifest.tensors[-1].stored
    content[(stored.start + stored.stop) // 2] ^= 1
    target.write_bytes(content)
    with pytest.raises(CorruptWeightTableError):
        export(target, folder)
    assert list(contents(folder.parent)) == [target.name]
    assert [path.name for path in folder.parent.iterdir()] == [target.name]


def test_a_quantised_model_is_refused(target: Path, folder: Path):
    every_dtype().write(target)
    with pytest.raises(ConversionError, match="is quantised"):
        export(target, folder)
    assert [path.name for path in folder.parent.iterdir()] == [target.name]


def export_with_file(path: Path, folder: Path, name: str) -> None:
    """Export a table that carries a file of this name, if it can be written at all."""
    with WeightWriter(path, SPEC, ["float32"]) as writer:
        values = np.zeros(8, np.uint8)
        writer.add_tensor("a", values, "float32", (2,), source="a", source_dtype="float32")
        writer.add_file(name, b"evil", FileRole.SOURCE)
        writer.finish(PROVENANCE)
    export(path, folder)


@pytest.mark.parametrize("name", ["../escaped", "/{}/escaped", "a/../../escaped", "..", ""])
def test_an_attached_file_cannot_leave_the_folder(
    name: str, target: Path, folder: Path, tmp_path: Path
):
    """A table from elsewhere must not choose where files are written."""
    with pytest.raises(LLMCompressionError):
        export_with_file(target, folder, name.format(tmp_path))
    assert not folder.exists()
    assert not list(tmp_path.rglob("escaped"))
    assert not [path for path in target.parent.iterdir() if path != target]


@pytest.mark.parametrize("limit", [0, 1000, 60_000])
def test_a_full_disk_leaves_nothing(
    limit: int, tiny_table: Path, folder: Path, processes: ForkServerContext
):
    with ProcessPoolExecutor(1, mp_context=processes) as pool:
        said = pool.submit(work.export_on_a_small_disk, tiny_table, folder, limit).result()
    assert said.startswith(f"OutputError: cannot write {folder}: ")
    assert list(folder.parent.iterdir()) == []
