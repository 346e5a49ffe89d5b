"""Same input, pyarrow and options: the same file, in any process, from any folder."""

import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from llm_compression.conversion.convert import convert
from tests.weights import work
from tests.weights.weight_tables import every_dtype


def test_two_writes_of_one_content(tmp_path: Path):
    every_dtype().write(tmp_path / "one.parquet")
    every_dtype().write(tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_two_conversions_from_two_folders_of_one_name(
    tiny_bert: Path, tmp_path: Path, dtype: str | None
):
    files = []
    for place in ("here", "there"):
        folder = Path(shutil.copytree(tiny_bert, tmp_path / place / "model"))
        report = convert(folder, tmp_path / f"{place}.parquet", dtype=dtype)
        files.append(report.path.read_bytes())
    assert files[0] == files[1]


def same_in_another_process(processes: ForkServerContext, source: Path, folder: Path) -> None:
    here = convert(source, folder / "here.parquet").path
    with ProcessPoolExecutor(1, mp_context=processes) as pool:
        there = pool.submit(work.convert_bytes, source, folder / "there.parquet").result()
    assert here.read_bytes() == there


def test_two_processes(processes: ForkServerContext, tiny_bert: Path, tmp_path: Path):
    same_in_another_process(processes, tiny_bert, tmp_path)


@pytest.mark.slow
@pytest.mark.minilm
def test_two_processes_on_the_real_model(
    processes: ForkServerContext, minilm: Path, tmp_path: Path
):
    same_in_another_process(processes, minilm, tmp_path)
