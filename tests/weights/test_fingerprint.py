"""The fingerprint: one name for one model, whatever it was converted from, where and when."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from llm_compression.conversion.convert import convert
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import Dropped, FileRole, SourceFile
from tests.weights.weight_tables import PROVENANCE, Content, Stored


def print_of(content: Content, folder: Path) -> str:
    return content.write(folder / "t.parquet").fingerprint


def flipped(stored: Stored, bit: int) -> Stored:
    raw = stored.raw.copy()
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    return replace(stored, raw=raw)


def test_is_the_sha256_that_the_standard_describes(every_dtype_table: Path):
    """Computed here from the metadata and the values, without the package's own functions."""
    metadata = pq.read_metadata(every_dtype_table)
    said = {
        key.decode().removeprefix("llm_compression."): value
        for key, value in metadata.metadata.items()
    }
    columns = pq.read_table(every_dtype_table)
    tensors = [
        [t["name"], t["dtype"], t["shape"], values_sha256(columns, t)]
        + ([t["quantization"]] if t["quantization"] else [])
        for t in json.loads(said["tensors"])
    ]
    files = [[f["role"], f["sha256"]] for f in json.loads(said["files"]) if f["role"] != "source"]
    identity = {
        "spec": json.loads(said["spec"]),
        "tensors": sorted(tensors),
        "files": sorted(files),
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == said["fingerprint"].decode()


def values_sha256(columns: pa.Table, tensor: dict) -> str:
    chosen = columns.filter(pc.equal(columns["tensor"].cast("string"), tensor["name"]))
    values = chosen[tensor["dtype"]].combine_chunks()
    return hashlib.sha256(values.to_numpy().tobytes()).hexdigest()


def test_any_bit_of_any_tensor_changes_it(content: Content, tmp_path: Path):
    names = list(content.tensors)
    prints = {print_of(content, tmp_path)}
    for i, name in enumerate(names):
        changed = content.with_tensor(name, flipped(content.tensors[name], bit=1001 * i))
        prints.add(print_of(changed, tmp_path))
    assert len(prints) == 1 + len(names)


def test_the_shape_the_dtype_and_the_name_change_it(content: Content, tmp_path: Path):
    bias = content.tensors["float32.bias"]
    others = [
        content.with_tensor("float32.bias", replace(bias, shape=(30, 10))),
        content.with_tensor("float32.bias", replace(bias, dtype="int32")),
        replace(content, tensors={n.replace("bias", "b"): t for n, t in content.tensors.items()}),
        replace(content, tensors={n: t for n, t in content.tensors.items() if n != "scalar"}),
    ]
    prints = {print_of(other, tmp_path) for other in [content, *others]}
    assert len(prints) == 1 + len(others)


def test_quantisation_changes_it(content: Content, tmp_path: Path):
    weight = content.tensors["int8.weight"]
    plain = content.with_tensor("int8.weight", replace(weight, quantization=None))
    assert print_of(plain, tmp_path) != print_of(content, tmp_path)


def test_the_spec_changes_it(content: Content, tmp_path: Path):
    spec = content.spec
    embedding = replace(spec.embedding, normalize=False)
    prompted = replace(spec.embedding, prompts={"query": "query: "})
    block = replace(spec.text.block, norm_eps=1e-5)
    specs = [
        spec,
        replace(spec, embedding=embedding),
        replace(spec, embedding=prompted),
        replace(spec, text=replace(spec.text, block=block)),
        replace(spec, tokenizer=replace(spec.tokenizer, pad_token_id=1)),
    ]
    prints = {print_of(replace(content, spec=other), tmp_path) for other in specs}
    assert len(prints) == len(specs)


@pytest.mark.parametrize(
    ("name", "role", "counts"),
    [
        ("tokenizer.json", FileRole.TOKENIZER, True),
        ("preprocessor.json", FileRole.PREPROCESSING, True),
        ("folder/long.txt", FileRole.SOURCE, False),
    ],
)
def test_of_the_attached_files_only_what_defines_the_model_counts(
    content: Content, tmp_path: Path, name: str, role: FileRole, counts: bool
):
    changed = content.with_file(name, role, content.files[name][1] + b" ")
    assert (print_of(changed, tmp_path) != print_of(content, tmp_path)) == counts


def test_the_order_of_tensors_and_files_does_not_count(content: Content, tmp_path: Path):
    turned = replace(
        content,
        tensors=dict(reversed(content.tensors.items())),
        files=dict(reversed(content.files.items())),
    )
    assert print_of(turned, tmp_path) == print_of(content, tmp_path)


def test_provenance_does_not_count(content: Content, tmp_path: Path):
    other = replace(
        PROVENANCE,
        source="elsewhere/model",
        revision="abc",
        converter="llm-compression 99",
        files=(SourceFile("pytorch_model.bin", "1" * 64),),
        dropped=(Dropped("lm_head", "a head"),),
    )
    moved = replace(content, provenance=other)
    assert print_of(moved, tmp_path) == print_of(content, tmp_path)


@pytest.fixture
def copy(tiny_bert: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies the tiny checkpoint under a name."""
    return lambda name: Path(shutil.copytree(tiny_bert, tmp_path / name))


def test_the_same_model_from_elsewhere_has_the_same_name(
    copy: Callable[[str], Path], tiny_table: Path, tmp_path: Path
):
    other = copy("another-name")
    state = load_file(other / "model.safetensors")
    (other / "model.safetensors").unlink()
    torch.save(state, other / "pytorch_model.bin")
    report = convert(other, tmp_path / "other.parquet")
    assert report.fingerprint == WeightTable(tiny_table).fingerprint
    assert (tmp_path / "other.parquet").read_bytes() != tiny_table.read_bytes()  # provenance


def test_a_checkpoint_with_one_bit_changed_has_another_name(
    copy: Callable[[str], Path], tiny_table: Path, tmp_path: Path
):
    other = copy("changed")
    state = load_file(other / "model.safetensors")
    first = next(iter(state.values()))
    first.view(torch.int32).view(-1)[0] ^= 1
    save_file(state, other / "model.safetensors", metadata={"format": "pt"})
    report = convert(other, tmp_path / "other.parquet")
    assert report.fingerprint != WeightTable(tiny_table).fingerprint


def test_a_checkpoint_with_another_tokenizer_has_another_name(
    copy: Callable[[str], Path], tiny_table: Path, tmp_path: Path
):
    other = copy("changed")
    text = (other / "tokenizer.json").read_text()
    assert "park" in text
    (other / "tokenizer.json").write_text(text.replace("park", "lake"))
    report = convert(other, tmp_path / "other.parquet")
    assert report.fingerprint != WeightTable(tiny_table).fingerprint
