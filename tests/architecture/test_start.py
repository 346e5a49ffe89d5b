"""Importing the package and asking for help are quick and load nothing heavy."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "pyarrow", "transformers", "tokenizers", "safetensors", "librosa", "PIL"}
LIMIT = 0.1  # seconds
RUNS = 5  # the best counts: another process may hold the machine up, none can speed it up
PROGRAM = """
import contextlib, io, json, sys, time
started = time.perf_counter()
{code}
seconds = time.perf_counter() - started
print(json.dumps([seconds, sorted(name for name in sys.modules if "." not in name)]))
"""
IMPORT = "import llm_compression"
HELP = """
from llm_compression.cli.main import main
with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(SystemExit):
    main(["--help"])
assert "convert" in output.getvalue()
"""


def run(code: str) -> tuple[float, set[str]]:
    """Seconds that ``code`` takes in a fresh interpreter, and the modules it leaves loaded."""
    command = [sys.executable, "-c", PROGRAM.format(code=code)]
    seconds, modules = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return seconds, set(modules)


@pytest.mark.parametrize("code", [IMPORT, HELP], ids=["import", "help"])
def test_start_is_quick_and_light(code: str) -> None:
    runs = [run(code) for _ in range(RUNS)]
    assert min(seconds for seconds, _ in runs) < LIMIT
    assert not runs[0][1] & HEAVY
