"""Automatic compaction bounds the number of files and how often a row is written again."""

import random
from itertools import chain, pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.compaction import FAN_IN, _class, due
from llm_compression.memory.storage.dataset import max_rows
from llm_compression.memory.storage.fragment import Fragment
from llm_compression.memory.storage.manifest import FragmentEntry, StoredFile
from llm_compression.memory.vector_storage import VectorStorage
from tests.memory.storage.steps import assert_works_on, files, found_files, held, put

IDENTITIES = [
    VectorIdentity.declared("text", name, 384, normalized=True, precision="float32")
    for name in ("one", "other")
]
LIMIT = max_rows(384) // 2  # rows of fragments that are large enough to be left alone
CLASSES = _class(LIMIT) + 1


def zigzag(i: int) -> int:
    """Seven rows one by one, then eight at once; after four such 64, and so on."""
    size = 1
    i, rest = divmod(i, 8)
    while not rest and i and size < LIMIT:
        size *= 8
        i, rest = divmod(i, 4)
    return size


SERIES = {
    "single rows": lambda chosen, i: 1,
    "thousands": lambda chosen, i: 1000,
    "single rows and thousands": lambda chosen, i: chosen.choice((1, 1000)),
    "all sizes": lambda chosen, i: int(8 ** chosen.uniform(0, 5.6)),
    "just below a class": lambda chosen, i: chosen.choice((7, 63, 511)),
    "ever smaller": lambda chosen, i: max(1, int(4000 * chosen.random() ** 8)),
    "larger ones between smaller ones": lambda chosen, i: zigzag(i + 1),
    "a few large ones between": lambda chosen, i: 100_000 if chosen.random() < 0.02 else 3,
}


class Simulation:
    """Fragments of a dataset, without files."""

    def __init__(self) -> None:
        self.fragments: list[Fragment] = []
        self.stored = self.written = self.most = 0

    def store(self, rows: int, identity: VectorIdentity = IDENTITIES[0]) -> None:
        self.fragments.append(fragment(rows, identity))
        self.stored += rows
        self.tidy()

    def tidy(self) -> None:
        while group := next(due(self.fragments), None):
            rows = sum(one.entry.live for one in group)
            self.written += rows
            assert rows <= max_rows(384)
            place = self.fragments.index(group[-1])
            self.fragments[place] = fragment(rows, group[0].identity)
            gone = {id(one) for one in group[:-1]}
            self.fragments = [one for one in self.fragments if id(one) not in gone]
        self.most = max(self.most, len(self.fragments))


def fragment(rows: int, identity: VectorIdentity, dead: int = 0) -> Fragment:
    deleted = StoredFile("list", dead, 0, "") if dead else None
    entry = FragmentEntry(StoredFile("file", rows, 0, ""), "", "", 0, "float32", 0, 0, deleted)
    return Fragment(Path(), entry, identity)


def bound(fragments: list[Fragment]) -> int:
    """Between two large ones (or two that are not of a kind) stand fewer than 48 small ones."""
    large = sum(one.entry.live > LIMIT for one in fragments)
    return FAN_IN * CLASSES * (large + 1)


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("count", [600, pytest.param(6_000, marks=pytest.mark.slow)])
def test_files_and_rewriting_are_bounded(series: str, count: int):
    simulation, chosen = Simulation(), random.Random(count)
    for i in range(count):
        simulation.store(SERIES[series](chosen, i))
        assert len(simulation.fragments) < bound(simulation.fragments)
    assert simulation.written <= CLASSES * simulation.stored
    assert sum(one.entry.live for one in simulation.fragments) == simulation.stored


def test_models_that_take_turns_are_bounded_each():
    simulation = Simulation()
    for i in range(1_000):
        simulation.store(1, IDENTITIES[i % 2])
    assert len(simulation.fragments) < 2 * FAN_IN * CLASSES
    assert simulation.written <= CLASSES * simulation.stored


def test_a_fragment_that_is_half_dead_is_written_again_alone():
    alone = fragment(1_000, IDENTITIES[0], dead=500)
    assert list(due([alone])) == [[alone]]
    assert list(due([fragment(1_000, IDENTITIES[0], dead=499)])) == []


def test_few_or_large_fragments_are_left_alone():
    assert list(due([fragment(1, IDENTITIES[0])] * (FAN_IN - 1))) == []
    assert list(due([fragment(LIMIT + 1, IDENTITIES[0])] * 20)) == []


def test_storing_row_by_row_leaves_few_files(tmp_path: Path):
    storage, most = VectorStorage(tmp_path), 0
    ids = [str(i) for i in range(100)]
    for one in ids:
        put(storage, [one])
        most = max(most, storage.get_storage_stats()["text"].fragments)
    assert most < 2 * FAN_IN
    assert list(held(storage)) == ids
    assert_works_on(tmp_path)


def test_compacting_leaves_one_file_of_live_rows_in_order(tmp_path: Path):
    storage = VectorStorage(tmp_path, auto_compact=False)
    ids = [str(i) for i in range(30)]
    for one, other in pairwise(ids[::3]):
        put(storage, [one, f"{one}+", other + "-"])
    storage.delete("text", ["3", "6+"])
    put(storage, ["9"], 1, replace=True)  # goes to the end
    before = list(held(storage))
    assert before[-1] == "9"
    assert storage.compact("text") == 1
    assert list(held(storage)) == before
    stats = storage.get_storage_stats()["text"]
    assert (stats.rows, stats.deleted, stats.fragments) == (len(before), 0, 1)
    assert found_files(tmp_path) == files(storage) | {"manifest.json"}
    assert storage.compact() == 0
    storage.delete("text", before)
    assert storage.count("text") == storage.compact() == 0
    assert found_files(tmp_path) == {"manifest.json"}


def test_compacting_removes_what_a_killed_writer_left(tmp_path: Path):
    storage = VectorStorage(tmp_path, auto_compact=False)
    put(storage, ["a"])
    (file,) = (tmp_path / "text" / "data").iterdir()
    for name in ("killed.parquet", "killed.parquet.tmp"):
        (file.parent / name).write_bytes(file.read_bytes())
    assert storage.compact() == 0
    assert list(file.parent.iterdir()) == [file]


def test_merged_rows_share_row_groups(tmp_path: Path):
    storage = VectorStorage(tmp_path, auto_compact=False)
    sizes = [1] * 20 + [5_000, 1, 4_000]
    ids = [[f"{i}-{j}" for j in range(n)] for i, n in enumerate(sizes)]
    for some in ids:
        put(storage, some)
    storage.compact()
    (fragment,) = storage.dataset("text").snapshot().fragments
    groups = pq.ParquetFile(fragment.path).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [4096, 4096, 829]
    assert list(held(storage)) == [*chain(*ids)]
