"""Thousands of mutated files: every change is noticed, nothing wrong comes out, nothing crashes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llm_compression.weights.mapping import mapped_path, open_mapped
from llm_compression.weights.reader import WeightTable
from tests.conftest import ROOT
from tests.format.test_golden import GOLDEN
from tests.weights.mutation import OPERATIONS

TABLE_REGIONS = {
    "head magic", "page header", "dictionary", "tensor", "attached file", "footer",
    "footer length", "tail magic", "anywhere",
}  # fmt: skip
COPY_REGIONS = {"first header", "header between", "value", "footer", "anywhere"}


def fuzz(kind: str, *arguments: object, count: int, seed: int = 0) -> dict[str, dict[str, int]]:
    """How often each region and operation was tried; fails where a mutation got through."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.weights.fuzz", kind]
    command += [*map(str, arguments), f"--seed={seed}", f"--count={count}"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    again = f"{' '.join(command)}: exit code {run.returncode}\n{run.stderr[-3000:]}"
    assert run.returncode in (0, 1), again
    assert run.stdout, again  # it ended in an exception of another kind: the traceback is above
    done = json.loads(run.stdout)
    assert done["failures"] == [], again
    assert sum(done["regions"].values()) == count
    return done


def fuzz_table(path: Path, *, count: int, seed: int = 0) -> None:
    done = fuzz("table", path, count=count, seed=seed)
    assert set(done["regions"]) == TABLE_REGIONS
    assert set(done["operations"]) <= set(OPERATIONS)
    if count >= 1000:
        assert min(done["regions"].values()) > count / len(TABLE_REGIONS) / 2
        assert min(done["operations"][name] for name in OPERATIONS) > count / len(OPERATIONS) / 2


def fuzz_copy(path: Path, *, count: int, seed: int = 0) -> None:
    table = WeightTable(path)
    open_mapped(table, mapped_path(table))
    done = fuzz("copy", path, "--copy", mapped_path(table), count=count, seed=seed)
    assert set(done["regions"]) == COPY_REGIONS
    assert set(done["operations"]) == set(OPERATIONS)


def test_a_table_of_every_dtype(every_dtype_table: Path):
    fuzz_table(every_dtype_table, count=2500)


@pytest.mark.minilm
def test_the_real_model(minilm_table: Path):
    fuzz_table(minilm_table, count=100)


def test_a_mapped_copy(every_dtype_table: Path):
    fuzz_copy(every_dtype_table, count=1000)


@pytest.mark.slow
def test_every_byte_of_a_table():
    fuzz("table", GOLDEN, "--sweep", count=GOLDEN.stat().st_size)


@pytest.mark.slow
def test_a_table_of_every_dtype_at_length(every_dtype_table: Path):
    fuzz_table(every_dtype_table, count=25_000, seed=1)


@pytest.mark.slow
def test_a_mapped_copy_at_length(every_dtype_table: Path):
    fuzz_copy(every_dtype_table, count=25_000, seed=1)
