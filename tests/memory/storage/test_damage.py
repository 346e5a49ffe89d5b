"""Damage anywhere is found and named, and what is not damaged stays readable."""

import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from llm_compression.errors import DamagedStorageError
from llm_compression.memory.storage.fragment import Fragment
from llm_compression.memory.storage.snapshot import DamagedFragmentWarning
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.storage.steps import held, put

GROUPS = [["a", "b", "c"], ["d", "e"], ["f"]]
ROWS = [one for group in GROUPS for one in group if one != "b"]
FULL = pytest.param(4_000, marks=pytest.mark.slow)
Damage = Callable[[Path, random.Random], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "storage"
    storage = VectorStorage(path)
    for group in GROUPS:
        put(storage, group)
    storage.delete("text", ["b"])
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def fragments(path: Path) -> list[Path]:
    """In the order of storing."""
    return [f.path for f in VectorStorage(path).dataset("text").snapshot().fragments]


def flip(file: Path, chosen: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[chosen.randrange(len(content))] ^= 1 << chosen.randrange(8)
    file.write_bytes(content)


def overwrite(file: Path, chosen: random.Random) -> None:
    content = file.read_bytes()
    start = chosen.randrange(len(content))
    n = chosen.choice((1, 2, 8, 100, 4096))
    junk = chosen.choice((bytes(n), chosen.randbytes(n), content[:n], content[-n:]))
    file.write_bytes((content[:start] + junk + content[start + n :])[: len(content)])


def cut(file: Path, chosen: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: chosen.choice((0, 1, chosen.randrange(len(content))))])


def lengthen(file: Path, chosen: random.Random) -> None:
    file.write_bytes(file.read_bytes() + chosen.randbytes(chosen.choice((1, 100))))


def take_out(file: Path, chosen: random.Random) -> None:
    content = file.read_bytes()
    start = chosen.randrange(len(content))
    file.write_bytes(content[:start] + content[start + chosen.randrange(1, 9) :])


def remove(file: Path, chosen: random.Random) -> None:
    file.unlink()


DAMAGES = [flip, overwrite, cut, lengthen, take_out, remove]
AREAS = ["fragment", "deletion list", "manifest"]


def file_of(path: Path, area: str) -> tuple[Path, list[str]]:
    """A file, and the rows that do not depend on it."""
    if area == "manifest":
        return path / "text" / "manifest.json", []
    if area == "fragment":
        return fragments(path)[1], [one for one in ROWS if one not in GROUPS[1]]
    return next((path / "text" / "deleted").iterdir()), [*GROUPS[1], *GROUPS[2]]


@pytest.mark.parametrize("area", AREAS)
@pytest.mark.parametrize("count", [120, FULL])
def test_damage_is_found_and_the_rest_stays_readable(area: str, count: int, copy: Path):
    file, others = file_of(copy, area)
    content, chosen = file.read_bytes(), random.Random(count)
    for number in range(count):
        DAMAGES[number % len(DAMAGES)](file, chosen)
        if not file.exists() or file.read_bytes() != content:
            check(copy, file, others, area)
        file.write_bytes(content)
    assert list(held(VectorStorage(copy))) == ROWS


def check(path: Path, file: Path, others: list[str], area: str) -> None:
    """Right rows or an error that names the file; all others with ``skip``; `verify` names it."""
    assert [damage.path for damage in VectorStorage(path).verify()] == [str(file)]
    said = words_of_reading(path)
    assert str(file) in said or not said
    if not said:  # the damage lies where nobody reads
        return
    skipping = VectorStorage(path, on_damage="skip")
    if area == "manifest":
        with pytest.raises(DamagedStorageError, match=r"manifest\.json.*restore it"):
            held(skipping)
        return
    with pytest.warns(DamagedFragmentWarning) as said:
        assert list(held(skipping)) == others
    assert {str(file) in str(warning.message) for warning in said} == {True}


def words_of_reading(path: Path) -> str:
    """The error of reading, or nothing where all rows are right."""
    try:
        assert list(held(VectorStorage(path))) == ROWS
    except DamagedStorageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("bits", [1, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_no_bit_of_a_fragment_changes_a_row(dtype: str, bits: int, tmp_path: Path):
    """Headers of Parquet pages too, which the checksums of pages leave out."""
    storage, chosen = VectorStorage(tmp_path, dtype=dtype), random.Random(bits)
    storage.store(
        "audio", ["a", "b", "c", "d"], ["x", "y", "x", "y"], np.eye(4, 6),
        metadata=[{"t": "x", "i": 1}, {"t": "y", "f": 0.5}, None, {"b": True}],
        durations=[1, None, 2, 0.5],
    )  # fmt: skip
    fragment = storage.dataset("audio").snapshot().fragments[0]
    rows, content = fragment.table(), fragment.path.read_bytes()
    passed = []
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for place in range(footer):  # SHA-256 covers the footer
        for bit in chosen.sample(range(8), bits):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            fragment.path.write_bytes(changed)
            try:
                found = Fragment(fragment.folder, fragment.entry, fragment.identity).table()
            except DamagedStorageError:
                continue
            passed.append(place)
            assert found.equals(rows), (place, bit)
    assert set(passed) <= {0, 1, 2, 3}  # the magic at the start, which nobody reads


def test_fragments_in_each_others_place_are_found(tmp_path: Path):
    storage = VectorStorage(tmp_path)
    time = np.datetime64("2026-01-01", "us").item()
    for one in "ab":
        storage.store("text", [one], [one], np.eye(1, 4), timestamps=time)
    first, second = fragments(tmp_path)
    content = first.read_bytes()
    assert len(content) == len(second.read_bytes())
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    with pytest.raises(DamagedStorageError, match=first.name):
        VectorStorage(tmp_path).query("text")
    assert len(VectorStorage(tmp_path).verify()) == 2


def test_a_manifest_that_is_gone_is_no_empty_dataset(copy: Path):
    (copy / "text" / "manifest.json").unlink()
    before = {file: file.read_bytes() for file in fragments_on_disk(copy)}
    for call in (
        lambda storage: storage.count("text"),
        lambda storage: put(storage, ["new"]),
        lambda storage: storage.delete("text", ["a"], missing_ok=True),
        lambda storage: storage.compact(),
    ):
        with pytest.raises(DamagedStorageError, match=r"manifest\.json is gone; restore it"):
            call(VectorStorage(copy))
    assert {file: file.read_bytes() for file in fragments_on_disk(copy)} == before


def fragments_on_disk(path: Path) -> list[Path]:
    return sorted((path / "text" / "data").iterdir())


def test_a_manifest_of_another_modality_is_refused(copy: Path):
    (copy / "text").rename(copy / "vision")
    with pytest.raises(DamagedStorageError, match="of modality 'text', expected 'vision'"):
        VectorStorage(copy).count("vision")


@pytest.mark.parametrize("damage", [flip, remove])
def test_nothing_is_stored_beside_ids_that_cannot_be_read(damage: Damage, copy: Path):
    file = fragments(copy)[0]
    damage(file, random.Random(5))
    with pytest.raises(DamagedStorageError, match=file.name):
        VectorStorage(copy).compact()
    storage = VectorStorage(copy, on_damage="skip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DamagedStorageError, match=file.name):  # or one id would stand twice
            put(storage, [GROUPS[0][0]])
        storage.delete("text", GROUPS[1])
        assert set(held(storage)) == {*GROUPS[2]}
    assert [Path(found.path).name for found in storage.verify()] == [file.name]


def test_deletion_lists_that_a_step_replaces_are_no_damage(copy: Path):
    dataset = VectorStorage(copy).dataset("text")
    fragment = dataset.snapshot().fragments[0]
    VectorStorage(copy, auto_compact=False).delete("text", ["a"])
    stale = VectorStorage(copy)
    stale.dataset("text").snapshot = lambda: SimpleNamespace(fragments=[fragment])
    assert stale.verify() == []
