"""The golden file of version 1: kept for ever, and every value in it known."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import STORAGE, FileRole, Quantization
from scripts.make_golden import write_golden

GOLDEN = Path(__file__).parent / "golden" / "v1.parquet"
SHA256 = "858088ed60b6cdb47650062c2a5ac011debdd335c6291583e4cdd1adf8fc7b85"
FINGERPRINT = "02010e03f0bfb93864e8a8669259a4831b63bd8407da6f8d7ecc06839b768c0e"
INF = float("inf")

VALUES = {
    "float32": [[0.0, -0.0, 1.5], [-2.0, INF, 2.999997843319071e-40]],
    "scalar": 4.605199813842773,
    "float16": [1.0, -2.0, 65504.0, 2.0**-24],
    "int64": [-1, 1099511627776],
    "int32": [[7, -2147483648]],
    "int8": [[1, -128], [127, 0]],
    "int8.scale": [[0.5, 0.25]],
    "int4": [[1, 2, -8, -1], [7, 0, -3, 4]],
    "int4.scale": [[1.0, 2.0], [0.5, 4.0]],
    "int4.zero": [[1, 0], [-1, 2]],
    "int4.odd": [0, 1, 2, 3, 4],
}


@pytest.fixture(params=[False, True], ids=["decoded", "mapped"])
def loader(request: pytest.FixtureRequest) -> WeightLoader:
    return WeightLoader(GOLDEN, mapped=request.param)


def test_is_the_file_that_was_first_written():
    assert hashlib.sha256(GOLDEN.read_bytes()).hexdigest() == SHA256
    assert GOLDEN.stat().st_size < 100_000


def test_holds_every_dtype():
    assert {entry.dtype for entry in WeightTable(GOLDEN).manifest.tensors} == set(STORAGE)


def test_every_value_is_known(loader: WeightLoader):
    assert set(loader.keys()) == {*VALUES, "bfloat16"}
    for name, values in VALUES.items():
        assert loader.get_tensor(name).tolist() == values, name
    assert loader.get_tensor("float32")[0].signbit().tolist() == [False, True, False]


def test_bfloat16_to_the_bit(loader: WeightLoader):
    tensor = loader.get_tensor("bfloat16")
    assert tensor.dtype is torch.bfloat16
    assert tensor.view(torch.int16).tolist() == [[0x3F80, 0xC000 - 65536], [0x7F7F, 0x7FC1]]
    assert tensor[0].tolist() == [1.0, -2.0]


def test_dequantized_values_are_known(loader: WeightLoader):
    assert loader.dequantize("int8").tolist() == [[0.5, -32.0], [63.5, 0.0]]
    # Row by row: 0, 1 by 1; -8, -1 by 2; 8, 1 by a half; -5, 2 by 4.
    assert loader.dequantize("int4").tolist() == [[0.0, 1.0, -16.0, -2.0], [4.0, 0.5, -20.0, 8.0]]


def test_attached_files_are_known():
    table = WeightTable(GOLDEN)
    files = {
        "tokenizer.json": (FileRole.TOKENIZER, b'{"version": "1.0"}'),
        "preprocessor_config.json": (FileRole.PREPROCESSING, b'{"size": 224}'),
        "empty.txt": (FileRole.SOURCE, b""),
        "long.txt": (FileRole.SOURCE, b"0123456789abcdef" * 70_000),
    }
    assert {entry.name: entry.role for entry in table.manifest.files} == {
        name: role for name, (role, _) in files.items()
    }
    for name, (_, content) in files.items():
        assert table.read_file(name) == content


def test_the_manifest_is_known():
    manifest = WeightTable(GOLDEN).manifest
    entry = next(e for e in manifest.tensors if e.name == "int4")
    assert (entry.source, entry.source_dtype, entry.shape) == ("source.int4", "int4", (2, 4))
    assert entry.quantization == Quantization(1, 2, "int4.scale", "int4.zero")
    assert manifest.spec.embedding.prompts == {"query": "q: "}
    assert manifest.provenance.source == "golden"
    assert manifest.provenance.dropped[0].reason == "a constant buffer"


def test_the_fingerprint_is_the_recorded_one(loader: WeightLoader):
    assert loader.fingerprint == FINGERPRINT
    loader.verify()


def test_the_writer_of_today_gives_the_model_the_same_name(tmp_path: Path):
    assert write_golden(tmp_path / "today.parquet").fingerprint == FINGERPRINT
    today, then = WeightLoader(tmp_path / "today.parquet"), WeightLoader(GOLDEN)
    assert today.keys() == then.keys()
    for name in VALUES:
        one, other = (x.get_tensor(name).view(-1).view(torch.uint8) for x in (today, then))
        assert np.array_equal(one.numpy(), other.numpy())
