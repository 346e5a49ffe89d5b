"""Damage in one place: what is asked for elsewhere still reads, the damaged part is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_compression.errors import CorruptWeightTableError
from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import ByteRange
from tests.weights.weight_tables import Content, expected_bytes, tensor_bytes

SECTOR = 4096


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.fixture
def table(content: Content, tmp_path: Path) -> Path:
    """A table of this test's own, to be damaged."""
    content.write(tmp_path / "own.parquet")
    return tmp_path / "own.parquet"


def places(stored: ByteRange) -> Iterator[int]:
    """First, last and a few bytes between."""
    yield from {stored.start, stored.stop - 1, *range(stored.start, stored.stop, 997)}


@pytest.mark.parametrize("name", ["float32.bias", "bfloat16.weight", "int4.odd", "scalar"])
def test_a_damaged_tensor_is_named_and_the_others_read(table: Path, content: Content, name: str):
    stored = WeightTable(table).entry(name).stored
    flip(table, (stored.start + stored.stop) // 2)
    loader = WeightLoader(table)
    with pytest.raises(CorruptWeightTableError, match=rf"own\.parquet: damage in {name} .*again"):
        loader.get_tensor(name)
    others = [other for other in content.tensors if other != name]
    for other, tensor in loader.load_weights(others).items():
        assert tensor_bytes(tensor) == expected_bytes(content.tensors[other])
    with pytest.raises(CorruptWeightTableError):
        loader.load_weights()
    with pytest.raises(CorruptWeightTableError):
        loader.verify()


def test_every_part_of_a_tensors_range_is_guarded(table: Path):
    name = "int64.ids"
    stored = WeightTable(table).entry(name).stored
    for place in range(stored.start, stored.stop):
        flip(table, place, bit=place % 8)
        with pytest.raises(CorruptWeightTableError):
            WeightLoader(table).get_tensor(name)
        flip(table, place, bit=place % 8)
    WeightLoader(table).verify()


def test_a_damaged_attached_file_is_named_and_the_rest_reads(table: Path, content: Content):
    entry = next(f for f in WeightTable(table).manifest.files if f.name == "folder/long.txt")
    for place in places(entry.stored):
        flip(table, place)
        opened = WeightTable(table)
        with pytest.raises(CorruptWeightTableError, match=r"folder/long\.txt"):
            opened.read_file("folder/long.txt")
        assert opened.read_file("tokenizer.json") == content.files["tokenizer.json"][1]
        WeightLoader(table).load_weights()
        flip(table, place)


def test_a_damaged_table_makes_no_mapped_copy(table: Path, empty_cache: Path):
    flip(table, WeightTable(table).entry("int8.weight").stored.start + 50)
    with pytest.raises(CorruptWeightTableError, match=r"own\.parquet: damage in int8\.weight"):
        WeightLoader(table, mapped=True)
    assert not [path for path in empty_cache.rglob("*") if path.is_file()]


def test_verify_false_leaves_the_check_out_and_verify_still_finds_it(table: Path):
    name = "float32.bias"  # random enough that zstd keeps literals, so some flips still decode
    stored = WeightTable(table).entry(name).stored
    truth = tensor_bytes(WeightLoader(table).get_tensor(name))
    outcomes = {unverified(table, name, place) == truth for place in places(stored)}
    assert False in outcomes, "no flip showed: verify=False must have checked after all"


def unverified(table: Path, name: str, place: int) -> bytes | None:
    """What ``verify=False`` reads after one flip; None where the decoder itself refused."""
    flip(table, place)
    loader = WeightLoader(table, verify=False)
    with pytest.raises(CorruptWeightTableError):
        loader.verify()
    try:
        return tensor_bytes(loader.get_tensor(name))
    except CorruptWeightTableError:
        return None
    finally:
        flip(table, place)


@pytest.mark.parametrize("stride", [512, SECTOR])
def test_the_same_bit_wrong_in_every_sector(table: Path, stride: int):
    """A bad cell in a transfer buffer harms each sector alike; such changes must not cancel."""
    name = "float32.weight"
    stored = WeightTable(table).entry(name).stored
    original = table.read_bytes()
    for count in (2, 4, 6, 8, 16):
        for bit in (7, 63):
            damaged = bytearray(original)
            first = stored.start + 512 - stored.start % 8
            for i in range(count):
                damaged[first + i * stride + bit // 8] ^= 1 << bit % 8
            assert first + count * stride < stored.stop
            table.write_bytes(damaged)
            with pytest.raises(CorruptWeightTableError, match=r"float32\.weight"):
                WeightLoader(table).get_tensor(name)
