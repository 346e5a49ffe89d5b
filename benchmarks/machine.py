"""The machine and the code that a run was made on, so that its figures can be judged."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, summarise, timed

ROOT = Path(__file__).parents[1]
LIBRARIES = (
    "numpy", "pyarrow", "safetensors", "sentence-transformers", "tokenizers", "torch",
    "transformers", "zstandard",
)  # fmt: skip
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
_MATRIX = 2048
_NO_RESULT = (":!benchmarks/results", ":!README.md")  # a run writes these itself


def describe(libraries: Sequence[str] = LIBRARIES) -> dict[str, Any]:
    """Hardware, system, versions of ``libraries``, whether our core is compiled, the commit."""
    from llm_compression.inference import trial
    from llm_compression.native.library import Kind

    cpu = _cpuinfo()
    flags = cpu.get("flags", "").split()
    return {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "memory_gib": round(_physical_memory() / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": _versions(libraries),
        "compiled": trial.usable(Kind.FLOAT32) is not None,
        "load_average": round(os.getloadavg()[0], 2),
        **_commit(),
    }


def _versions(libraries: Iterable[str]) -> dict[str, str]:
    try:
        return {name: version(name) for name in libraries}
    except PackageNotFoundError as error:
        raise SystemExit(
            f"error: {error.name} is not installed; `make bench` and `make bench-runtimes` install "
            "what they compare with, from the extras bench and bench-runtimes"
        ) from error


def float32_floor(runs: int = 7) -> Figure:
    """GFLOP/s of `torch.matmul` on square float32 matrices: the machine's own speed just now."""
    import torch

    matrix = torch.rand(_MATRIX, _MATRIX, generator=torch.Generator().manual_seed(0))
    timed(lambda: torch.matmul(matrix, matrix))
    work = 2 * _MATRIX**3 / 1e9
    samples = [work / timed(lambda: torch.matmul(matrix, matrix)) for _ in range(runs)]
    return summarise(samples, "GFLOP/s")


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in first)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _commit() -> dict[str, Any]:
    try:
        commit = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *_NO_RESULT)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no git commit to stamp the run with ({error})", file=sys.stderr)
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(changes)}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
