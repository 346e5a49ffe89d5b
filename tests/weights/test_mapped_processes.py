"""One mapped copy and several processes: made once, shared in memory, never half-made."""

import random
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.mapping import mapped_path
from llm_compression.weights.reader import WeightTable
from tests.weights import work
from tests.weights.weight_tables import every_dtype

KILLS = 6


@pytest.fixture(scope="session")
def large_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 20 MB of every dtype: large enough to race for, and to count pages of."""
    path = tmp_path_factory.mktemp("large") / "large.parquet"
    every_dtype(rows=12_000).write(path)
    return path


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_made_by_four_at_once(processes: ForkServerContext, large_table: Path, empty_cache: Path):
    with ProcessPoolExecutor(4, mp_context=processes) as pool:
        moment = time.monotonic() + 1
        runs = [
            pool.submit(work.open_mapped_at, moment, large_table, empty_cache) for _ in range(4)
        ]
        outcomes = {run.result() for run in runs}
    path = mapped_path(WeightTable(large_table))
    assert outcomes == {(True, path)}
    assert names(empty_cache) == [path.name]
    WeightLoader(large_table, mapped=True).verify()


def test_its_pages_are_shared(start, large_table: Path, empty_cache: Path):
    WeightLoader(large_table, mapped=True)
    path = mapped_path(WeightTable(large_table))
    before = path.read_bytes()
    users = [start(work.touch_mapped, large_table, empty_cache) for _ in range(2)]
    for pipe, _ in users:
        assert pipe.recv() == "touched"
    for counts in [ask(pipe) for pipe, _ in users]:
        assert counts["Rss"] >= 0.95 * len(before)
        assert counts["Shared_Clean"] >= 0.95 * len(before)
        assert counts["Private_Dirty"] == counts["Shared_Dirty"] == counts["Anonymous"] == 0
        assert counts["Pss"] <= 0.55 * counts["Rss"]
    for pipe, process in users:
        pipe.send("go")
        process.join()
    assert path.read_bytes() == before


def ask(pipe: Connection) -> dict[str, int]:
    pipe.send("count")
    return pipe.recv()


def test_killed_while_it_is_made(start, large_table: Path, empty_cache: Path):
    path, rng, leftovers = mapped_path(WeightTable(large_table)), random.Random(4), 0
    for _ in range(KILLS):
        pipe, process = start(work.open_mapped_when_told, large_table, empty_cache)
        assert pipe.recv() == "ready"
        time.sleep(rng.uniform(0.005, 0.08))
        process.kill()
        process.join()
        leftovers += len([name for name in names(empty_cache) if name != path.name])
        loader = WeightLoader(large_table, mapped=True)
        loader.verify()
        assert names(empty_cache) == [path.name]
        path.unlink()
    assert leftovers, "no kill struck while the copy was being written"
