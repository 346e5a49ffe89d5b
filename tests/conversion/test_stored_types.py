"""The stored type: the source's own bits by default, exact casts on request, NaN kept and named."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_compression import WeightLoader, convert
from llm_compression.conversion.dtypes import NonFiniteWeightWarning
from llm_compression.errors import ConversionError
from llm_compression.weights.reader import WeightTable
from tests.conversion.checkpoints import assert_same_bits, bits, read_tensors, write_tensors

NAME = "encoder.layer.1.output.dense.bias"
CANONICAL = "text.block.01.mlp.down.bias"
POSITIONS = "embeddings.position_embeddings.weight"

# float32 -> float16 bits, float32 -> bfloat16 bits; both round half to even.
CASTS = [
    (0.0, 0x0000, 0x0000),
    (-0.0, 0x8000, 0x8000),
    (1.0, 0x3C00, 0x3F80),
    (-2.5, 0xC100, 0xC020),
    (0.1, 0x2E66, 0x3DCD),
    (1 / 3, 0x3555, 0x3EAB),
    (1 + 2**-11, 0x3C00, 0x3F80),  # half way, down to even
    (1 + 3 * 2**-11, 0x3C02, 0x3F80),  # half way, up to even
    (1 + 2**-8, 0x3C04, 0x3F80),
    (1 + 3 * 2**-8, 0x3C0C, 0x3F82),
    (65504.0, 0x7BFF, 0x4780),
    (2.0**-14, 0x0400, 0x3880),
    (2.0**-24, 0x0001, 0x3380),  # float16's smallest
    (2.0**-26, 0x0000, 0x3280),
]


def with_values(folder: Path, values: list[float], dtype: torch.dtype = torch.float32) -> None:
    """Put these at the start of one tensor."""
    tensors = read_tensors(folder)
    tensors[NAME][: len(values)] = torch.tensor(values)
    write_tensors(folder, {name: tensor.to(dtype) for name, tensor in tensors.items()})


def stored_bits(table: Path, count: int) -> list[int]:
    tensor = WeightLoader(table).get_tensor(CANONICAL)
    return np.frombuffer(bits(tensor), np.uint16)[:count].tolist()


@pytest.mark.parametrize(("dtype", "column"), [("float16", 1), ("bfloat16", 2)])
def test_casts_round_to_the_nearest(dtype: str, column: int, bert: Path, target: Path):
    with_values(bert, [row[0] for row in CASTS])
    convert(bert, target, dtype=dtype)
    assert stored_bits(target, len(CASTS)) == [row[column] for row in CASTS]


@pytest.mark.parametrize("source", [torch.float16, torch.bfloat16])
def test_a_cast_to_float32_changes_no_value(source: torch.dtype, bert: Path, target: Path):
    with_values(bert, [row[0] for row in CASTS], source)
    convert(bert, target, dtype="float32")
    stored = WeightLoader(target).load_weights()
    for entry in WeightTable(target).manifest.tensors:
        original = read_tensors(bert)[entry.source]
        assert stored[entry.name].dtype == torch.float32
        assert bits(stored[entry.name].to(source)) == bits(original)


@pytest.mark.parametrize("source", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", None])
def test_every_tensor_is_cast_and_says_what_it_was(
    source: torch.dtype, dtype: str | None, bert: Path, target: Path
):
    with_values(bert, [], source)
    convert(bert, target, dtype=dtype)
    own = str(source).removeprefix("torch.")
    loader = WeightLoader(target)
    for entry in loader.table.manifest.tensors:
        assert (entry.dtype, entry.source_dtype) == (dtype or own, own)
        expected = read_tensors(bert)[entry.source].to(getattr(torch, dtype or own))
        assert bits(loader.get_tensor(entry.name)) == bits(expected)


def test_mixed_types_stay_as_they_are(bert: Path, target: Path):
    tensors = read_tensors(bert)
    kinds = [torch.float32, torch.float16, torch.bfloat16]
    mixed = {name: t.to(kinds[i % 3]) for i, (name, t) in enumerate(tensors.items())}
    write_tensors(bert, mixed)
    convert(bert, target)
    assert_same_bits(target, mixed)


def test_another_stored_type_is_another_model(bert: Path, target: Path):
    prints = {
        convert(bert, target, dtype=dtype).fingerprint
        for dtype in ("float32", "float16", "bfloat16", None)
    }
    assert len(prints) == 3


@pytest.mark.parametrize("value", [65520.0, -65520.0, 1e9, 3e38])
def test_what_float16_cannot_hold_is_refused(value: float, bert: Path, target: Path):
    with_values(bert, [1.0, value])
    with pytest.raises(ConversionError) as caught:
        convert(bert, target, dtype="float16")
    assert NAME in str(caught.value)
    assert "--dtype bfloat16" in str(caught.value)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("value", [65519.0, -65519.996])
def test_what_rounds_into_float16_is_not(value: float, bert: Path, target: Path):
    with_values(bert, [value])
    convert(bert, target, dtype="float16")
    assert stored_bits(target, 1) == [0x7BFF if value > 0 else 0xFBFF]


def test_what_bfloat16_cannot_hold_is_refused(bert: Path, target: Path):
    """The largest float32 rounds up to infinity in bfloat16."""
    with_values(bert, [float(np.finfo(np.float32).max)])
    with pytest.raises(ConversionError, match=NAME):
        convert(bert, target, dtype="bfloat16")


NOT_FINITE = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("source", [torch.float32, torch.float16, torch.bfloat16])
def test_values_that_are_not_finite_are_named_and_kept(
    source: torch.dtype, bert: Path, target: Path
):
    with_values(bert, NOT_FINITE, source)
    with pytest.warns(NonFiniteWeightWarning) as caught:
        convert(bert, target)
    assert [str(warning.message) for warning in caught] == [
        f"tensor {NAME} holds 3 NaN or infinite values; they are kept"
    ]
    assert_same_bits(target, read_tensors(bert))


def test_the_payload_of_a_nan_is_kept(bert: Path, target: Path):
    tensors = read_tensors(bert)
    patterns = torch.tensor([0x7FC00001, 0x7F800001, -1, -0x400000], dtype=torch.int32)
    tensors[NAME][:4] = patterns.view(torch.float32)
    write_tensors(bert, tensors)
    with pytest.warns(NonFiniteWeightWarning, match="4 NaN"):
        convert(bert, target)
    stored = np.frombuffer(bits(WeightLoader(target).get_tensor(CANONICAL)), np.int32)
    assert stored[:4].tolist() == patterns.tolist()


def test_each_bad_tensor_is_named(bert: Path, target: Path):
    tensors = read_tensors(bert)
    for name in (NAME, POSITIONS):
        tensors[name].view(-1)[-1] = float("nan")
    write_tensors(bert, tensors)
    with pytest.warns(NonFiniteWeightWarning) as caught:
        convert(bert, target)
    assert sorted(str(w.message).split()[1] for w in caught) == [POSITIONS, NAME]


def test_infinity_in_the_source_is_no_overflow(bert: Path, target: Path):
    with_values(bert, NOT_FINITE)
    with pytest.warns(NonFiniteWeightWarning):
        convert(bert, target, dtype="float16")
    first, *rest = stored_bits(target, 3)
    assert first & 0x7C00 == 0x7C00
    assert first & 0x03FF
    assert rest == [0x7C00, 0xFC00]


def test_finite_values_give_no_warning(bert: Path, target: Path):
    with_values(bert, [float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny), 1e-45])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(bert, target)
    assert_same_bits(target, read_tensors(bert))
