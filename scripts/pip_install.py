"""Runs `pip install` and keeps gigabytes of CUDA libraries out of it.

    python scripts/pip_install.py --constraint constraints.txt --editable '.[test]'

takes the arguments of `pip install`. It asks pip first what it would take. Only where that would
bring a CUDA build, as from PyPI on Linux, it adds PyTorch's own index of CPU wheels. It runs
before anything is installed, so it needs the standard library alone.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
_CUDA = re.compile(r"(nvidia|cuda)[-_.].+|(pytorch[-_.])?triton", re.IGNORECASE)


class InstallError(Exception):
    """The installation did not happen; the message says why."""


def install(arguments: Sequence[str]) -> None:
    """Install what ``arguments`` ask for, from CPU wheels where pip would choose CUDA ones.

    Raises:
        InstallError: pip failed, or no CPU build is to be had.
    """
    chosen = list(arguments)
    if cuda_packages(plan(chosen)):
        chosen += ["--extra-index-url", CPU_WHEELS]
        if left := cuda_packages(plan([*chosen, "--retries", "0"])):  # absent index: fail soon
            raise InstallError(
                f"pip would still install {', '.join(left[:3])} and other CUDA packages; "
                f"check that {CPU_WHEELS} can be reached, or install torch yourself first"
            )
    pip_install(chosen)


def plan(arguments: Sequence[str]) -> dict[str, Any]:
    """Pip's own report of what ``pip install`` with these arguments would bring."""
    with tempfile.TemporaryDirectory() as folder:  # beside which -v may print what it likes
        path = Path(folder) / "report.json"
        pip_install([*arguments, "--dry-run", "--quiet", "--report", str(path)])
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def cuda_packages(report: dict[str, Any]) -> list[str]:
    """Names of the packages in ``report`` that only a CUDA build of torch needs."""
    names = [item["metadata"]["name"] for item in report["install"]]
    return sorted(name for name in names if _CUDA.fullmatch(name))


def pip_install(arguments: Sequence[str]) -> None:
    """Run ``pip install``, which prints to the terminal.

    Raises:
        InstallError: pip exited with an error, which it has printed.
    """
    done = subprocess.run([sys.executable, "-m", "pip", "install", *arguments], check=False)
    if done.returncode:
        raise InstallError(
            f"`pip install {' '.join(arguments)}` ended with code {done.returncode}; "
            "its message is above"
        )


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 after an installation, 1 after a failure, 2 without arguments."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    try:
        install(arguments)
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
