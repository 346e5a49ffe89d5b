"""Elsewhere: the environment of contestants whose releases do not live beside ours."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ROOT

DEFAULT = ROOT / ".venv-st" / "bin" / "python"
_LIBRARIES = (
    "sentence-transformers",
    "transformers",
    "optimum",
    "onnxruntime",
    "openvino",
    "torch",
)
_ASK = f"from importlib.metadata import version\nfor n in {_LIBRARIES}: print(n, version(n))"


@dataclass(frozen=True)
class Elsewhere:
    """Another Python, and the releases that it has, as a sentence lists them."""

    python: str
    versions: str

    @classmethod
    def find(cls, python: Path) -> "Elsewhere | str":
        """The environment of a Python, or the reason why it cannot be used."""
        if not python.exists():
            return f"there is no {python}; `make venv-st` makes one"
        done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{python} lacks a library: {done.stderr.splitlines()[-1]}"
        return cls(str(python), ", ".join(done.stdout.splitlines()))
