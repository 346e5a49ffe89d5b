"""Every command that opens a model says what is wrong with the file, in one sentence."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Cli

REST = {"export": ["folder"], "embed": ["text"], "search": ["query", "--in", __file__]}

pytestmark = pytest.mark.parametrize(
    "command", ["inspect", "verify", "map", "export", "embed", "search"]
)


def said(cli: Cli, command: str, path: Path, folder: Path) -> str:
    rest = [folder / "new" if r == "folder" else r for r in REST.get(command, [])]
    message = cli(command, path, *rest).error(1)
    assert not (folder / "new").exists()
    return message


def test_missing(command: str, cli: Cli, tmp_path: Path):
    path = tmp_path / "missing.parquet"
    assert str(path) in said(cli, command, path, tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"just text\n" * 100])
def test_not_parquet(command: str, content: bytes, cli: Cli, target: Path):
    target.write_bytes(content)
    assert str(target) in said(cli, command, target, target.parent)


@pytest.mark.parametrize("share", [0.3, 0.999])
def test_truncated(command: str, share: float, cli: Cli, tiny_table: Path, target: Path):
    content = tiny_table.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])
    assert str(target) in said(cli, command, target, target.parent)


def test_another_parquet_file(command: str, cli: Cli, target: Path):
    pq.write_table(pa.table({"a": [1, 2]}), target)
    message = said(cli, command, target, target.parent)
    assert "weight table with `llm-compression convert`" in message


def test_a_folder(command: str, cli: Cli, tmp_path: Path):
    (tmp_path / "folder.parquet").mkdir()
    path = tmp_path / "folder.parquet"
    assert str(path) in said(cli, command, path, tmp_path)
