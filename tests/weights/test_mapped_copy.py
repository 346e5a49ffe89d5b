"""The mapped copy: where it is kept, when it is made again, and what a missing one costs."""

import errno
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest

from llm_compression.errors import (
    CorruptWeightTableError,
    NotAWeightTableError,
    UnsupportedVersionError,
)
from llm_compression.weights import seal
from llm_compression.weights.arrow_metadata import schema_metadata
from llm_compression.weights.loader import MappedCopyWarning, WeightLoader
from llm_compression.weights.mapped import MappedCopy, around, map_file
from llm_compression.weights.mapping import beside, mapped_path, open_mapped
from llm_compression.weights.reader import WeightTable, raw_values
from tests.weights import work
from tests.weights.weight_tables import Content, every_dtype, expected_bytes, tensor_bytes


@pytest.fixture
def model(content: Content, tmp_path: Path) -> Path:
    """A weight table of this test's own."""
    (tmp_path / "models").mkdir()
    content.write(tmp_path / "models" / "model.parquet")
    return tmp_path / "models" / "model.parquet"


@pytest.fixture
def copy(model: Path) -> Path:
    """Its mapped copy in the cache."""
    WeightLoader(model, mapped=True)
    return mapped_path(WeightTable(model))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def check(loader: WeightLoader, content: Content) -> None:
    for name, tensor in loader.load_weights().items():
        assert tensor_bytes(tensor) == expected_bytes(content.tensors[name])


def test_is_kept_in_the_cache_under_the_fingerprint(model: Path, empty_cache: Path):
    loader = WeightLoader(model, mapped=True)
    assert files(empty_cache) == [f"{loader.fingerprint}.arrow"]
    assert files(model.parent) == ["model.parquet"]


def test_is_made_once(model: Path, copy: Path):
    before = copy.stat()
    WeightLoader(model, mapped=True).load_weights()
    assert os.path.samestat(copy.stat(), before)
    assert copy.stat().st_mtime_ns == before.st_mtime_ns


def test_is_shared_by_the_same_model_under_another_name(
    model: Path, copy: Path, content: Content, empty_cache: Path
):
    content.write(model.with_name("other.parquet"))
    check(WeightLoader(model.with_name("other.parquet"), mapped=True), content)
    assert files(empty_cache) == [copy.name]


def test_two_models_have_two_copies(model: Path, copy: Path, empty_cache: Path):
    other = every_dtype(seed=1)
    other.write(model.with_name("other.parquet"))
    check(WeightLoader(model.with_name("other.parquet"), mapped=True), other)
    assert len(files(empty_cache)) == 2


def test_one_beside_the_model_is_used(model: Path, content: Content, empty_cache: Path):
    table = WeightTable(model)
    open_mapped(table, beside(table))
    assert files(model.parent) == ["model.parquet", "model.parquet.arrow"]
    check(WeightLoader(model, mapped=True), content)
    assert not empty_cache.exists()


def test_a_stale_one_that_cannot_be_written_over_gives_way_to_the_cache(
    model: Path, empty_cache: Path
):
    table = WeightTable(model)
    open_mapped(table, beside(table))
    stale = beside(table).read_bytes()
    other = every_dtype(seed=1)
    model.unlink()
    other.write(model)
    (model.parent / ".model.parquet.arrow.tmp").mkdir()  # no draft can be written here
    loader = WeightLoader(model, mapped=True)
    assert loader.is_mapped
    check(loader, other)
    assert len(files(empty_cache)) == 1
    assert beside(table).read_bytes() == stale


def test_one_beside_the_model_is_replaced_with_the_model(model: Path, empty_cache: Path):
    table = WeightTable(model)
    open_mapped(table, beside(table))
    other = every_dtype(seed=1)
    model.unlink()
    other.write(model)
    loader = WeightLoader(model, mapped=True)
    check(loader, other)
    loader.verify()
    assert files(model.parent) == ["model.parquet", "model.parquet.arrow"]
    assert not empty_cache.exists()


def ipc_of_something_else(path: Path) -> None:
    with pa.ipc.new_file(str(path), pa.schema([("a", pa.int8())])) as writer:
        writer.write_table(pa.table({"a": pa.array([1], pa.int8())}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


SPOILERS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not Arrow at all"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "Arrow of something else": ipc_of_something_else,
    "cut short": cut,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "magic": lambda path: flip(path, 0),
    "schema": lambda path: flip(path, 300),
    "footer": lambda path: flip(path, -300),
    "last byte": lambda path: flip(path, -1),
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS.keys())
def test_a_damaged_one_is_made_again(
    model: Path, copy: Path, content: Content, spoil: Callable[[Path], object]
):
    whole = copy.read_bytes()
    spoil(copy)
    with pytest.raises(CorruptWeightTableError, match=r"\.arrow: damage in .*delete the file"):
        MappedCopy(copy, WeightTable(model).fingerprint)
    loader = WeightLoader(model, mapped=True)
    check(loader, content)
    assert copy.read_bytes() == whole
    assert files(copy.parent) == [copy.name]


def test_one_of_another_model_is_refused_by_name(model: Path, copy: Path):
    with pytest.raises(CorruptWeightTableError, match="it is the copy of another model"):
        MappedCopy(copy, "0" * 64)


def test_one_of_a_newer_version_is_made_again(model: Path, copy: Path, content: Content):
    copy.unlink()
    with mock.patch("llm_compression.weights.mapped_writer.FORMAT_VERSION", 2):
        open_newer(model, copy)
    with pytest.raises(UnsupportedVersionError, match=r"format version '2'"):
        MappedCopy(copy, WeightTable(model).fingerprint)
    check(WeightLoader(model, mapped=True), content)
    MappedCopy(copy, WeightTable(model).fingerprint)


def open_newer(model: Path, copy: Path) -> None:
    """Make a copy whose own check of the version is of the future too."""
    with mock.patch("llm_compression.weights.mapped.check_version"):
        open_mapped(WeightTable(model), copy)


def test_damaged_values_are_found_by_verify(model: Path, copy: Path, content: Content):
    start = MappedCopy(copy, WeightTable(model).fingerprint).tensors["int8.weight"].start
    flip(copy, start + 5)
    loader = WeightLoader(model, mapped=True, verify=False)
    with pytest.raises(CorruptWeightTableError, match=r"\.arrow: damage in tensor int8\.weight"):
        loader.verify()
    check(WeightLoader(model, mapped=True), content)
    MappedCopy(copy, WeightTable(model).fingerprint).check_values()


def test_a_damaged_model_is_found_by_verify_behind_a_whole_copy(model: Path, copy: Path):
    flip(model, WeightTable(model).entry("int8.weight").stored.start + 50)
    loader = WeightLoader(model, mapped=True)
    loader.load_weights()
    with pytest.raises(CorruptWeightTableError, match=r"model\.parquet: damage in int8\.weight"):
        loader.verify()


def test_a_cache_that_cannot_be_written_costs_a_warning(
    model: Path, content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("a file where the folder should be")
    monkeypatch.setenv("LLM_COMPRESSION_CACHE", str(tmp_path / "file"))
    with pytest.warns(MappedCopyWarning, match="cannot write .*Set LLM_COMPRESSION_CACHE") as said:
        loader = WeightLoader(model, mapped=True)
    assert Path(said[0].filename) == Path(__file__)
    assert not loader.is_mapped
    check(loader, content)
    loader.verify()


def test_a_disk_that_fills_at_the_last_moment_costs_a_warning(
    model: Path, content: Content, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(MappedCopyWarning, match="No space left on device"):
        check(WeightLoader(model, mapped=True), content)
    assert files(empty_cache) == []


@pytest.mark.parametrize("limit", [0, 1000, 50_000])
def test_a_disk_that_fills_while_writing_costs_a_warning(
    processes: ForkServerContext, model: Path, empty_cache: Path, limit: int
):
    with ProcessPoolExecutor(1, mp_context=processes) as pool:
        said = pool.submit(work.map_on_a_small_disk, model, empty_cache, limit).result()
    assert said == ["MappedCopyWarning"]
    assert files(empty_cache) == []


def test_no_warning_otherwise(model: Path):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        WeightLoader(model, mapped=True).load_weights()
    assert said == []


def test_a_copy_whose_index_says_less_is_made_again(model: Path, copy: Path, content: Content):
    reader = pa.ipc.open_file(pa.memory_map(str(copy)))
    batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    metadata = dict(reader.schema.metadata)
    rows = json.loads(metadata[b"llm_compression.index"])
    metadata[b"llm_compression.index"] = json.dumps([row[:3] for row in rows]).encode()
    other = copy.with_name("other")
    with pa.ipc.new_file(str(other), reader.schema.with_metadata(metadata)) as writer:
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(metadata))
    other.replace(copy)
    with pytest.raises(CorruptWeightTableError, match="damage in its header"):
        MappedCopy(copy, WeightTable(model).fingerprint)
    check(WeightLoader(model, mapped=True), content)


HARM: dict[str, Callable[[list[Any]], object]] = {
    "another type": lambda rows: rows[0].__setitem__(1, "int32"),
    "another shape": lambda rows: rows[0][2].reverse(),
    "another name": lambda rows: rows[0].__setitem__(0, "other"),
    "a tensor too few": lambda rows: rows.pop(),
    "none": lambda rows: rows.clear(),
    "a size beyond all": lambda rows: rows[0].__setitem__(2, [float("inf"), 1]),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_sealed_index_that_is_not_the_models_is_made_again(
    model: Path, copy: Path, content: Content, harm: Callable[[list[Any]], object]
):
    reader = pa.ipc.open_file(pa.memory_map(str(copy)))
    index = reader.schema.metadata[b"llm_compression.index"]
    rows = json.loads(index)
    harm(rows)
    other = json.dumps(rows, separators=(",", ":")).encode().replace(b"Infinity", b"1e999")
    whole = copy.read_bytes().replace(index, other.ljust(len(index)))
    tensors = MappedCopy(copy, WeightTable(model).fingerprint).tensors.values()
    sealed = re.search(rb"seal:sha256:[0-9a-f]{64}", whole)
    assert sealed is not None
    copy.write_bytes(whole)
    digest = seal.digest(b"".join(around(map_file(copy), tensors))).encode()
    copy.write_bytes(whole.replace(sealed[0], b"seal:sha256:" + digest))
    with pytest.raises(CorruptWeightTableError, match=r"damage in its (header|index)"):
        MappedCopy(copy, WeightTable(model).fingerprint).check_index(WeightTable(model))
    for verify in (False, True):
        check(WeightLoader(model, mapped=True, verify=verify), content)


def test_an_index_without_an_end_is_made_again(model: Path, copy: Path, content: Content):
    index = pa.ipc.open_file(pa.memory_map(str(copy))).schema.metadata[b"llm_compression.index"]
    copy.write_bytes(
        copy.read_bytes().replace(index, (b"[" * 5000)[: len(index)].ljust(len(index)))
    )
    check(WeightLoader(model, mapped=True), content)


def test_is_arrow_to_everyone_else(model: Path, copy: Path):
    """The index that is read without Arrow says what Arrow finds."""
    tensors = MappedCopy(copy, WeightTable(model).fingerprint).tensors
    reader = pa.ipc.open_file(pa.memory_map(str(copy)))
    batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    rows = [(batch, i) for batch in batches for i in range(batch.num_rows)]
    whole = copy.read_bytes()
    for (batch, i), (name, tensor) in zip(rows, tensors.items(), strict=True):
        stored = whole[tensor.start : tensor.start + tensor.nbytes]
        assert batch["tensor"][i].as_py() == name
        assert raw_values(batch[tensor.dtype][i].values, tensor.dtype).tobytes() == stored
    assert schema_metadata(map_file(copy)) == reader.schema.metadata


def test_a_pipe_or_device_is_not_waited_for(model: Path, copy: Path, content: Content):
    os.mkfifo(beside(WeightTable(model)))
    check(WeightLoader(model, mapped=True), content)
    copy.unlink()
    os.mkfifo(copy)
    with pytest.warns(MappedCopyWarning, match=r"is no mapped copy, .* move it away"):
        check(WeightLoader(model, mapped=True), content)
    with pytest.raises(NotAWeightTableError):
        WeightLoader(copy)
    copy.unlink()
    copy.symlink_to("/dev/zero")
    with pytest.warns(MappedCopyWarning, match=r"is no mapped copy, .* move it away"):
        check(WeightLoader(model, mapped=True), content)


def test_opening_one_that_is_there_loads_no_pyarrow(tiny_table: Path, empty_cache: Path):
    """It would be most of the time and memory that opening takes."""
    lines = (
        "import sys; from llm_compression import ArrowEngine",
        "assert ArrowEngine(sys.argv[1]).encode('the cat').shape == (32,)",
        "sys.exit('pyarrow' in sys.modules)",
    )
    command = [sys.executable, "-c", "\n".join(lines), str(tiny_table)]
    assert [subprocess.run(command, check=False).returncode for _ in range(2)] == [1, 0]
