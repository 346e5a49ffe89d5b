"""The build step of the package: compiles the inference core where there is a C compiler for it.

Without one the package is complete all the same, and computes by torch's operators.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("llm_compression", "native")
FLAGS = [
    "-ffp-contract=off",  # a product is rounded before it is added, but where the source says so
    *("-O3", "-std=gnu11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-Wall", "-Wextra"),
    *("-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"),
    # used only where the processor says that it has them
    *("-mavx512vnni", "-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-mamx-int8"),
]


class NativeBuild(BuildHookInterface):  # type: ignore[type-arg]
    """Adds ``native.so`` to a wheel or, where it is editable, to the folder of its sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Called by hatchling in front of a build."""
        folder = Path(self.root) / FOLDER
        library = folder / "native.so"
        if self.target_name != "wheel" or not compile_library(folder, library):
            return
        build_data["artifacts"].append(str(FOLDER / "native.so"))
        build_data["pure_python"] = False
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{tag}"


def compile_library(folder: Path, library: Path) -> bool:
    """Whether ``library`` was made of the sources in ``folder``; says why if not."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    if sys.platform != "linux" or platform.machine() != "x86_64" or not compiler:
        print("the compiled core is left out: it needs Linux on x86-64 and a C compiler")
        return False
    draft = library.with_suffix(".draft")
    command = [*compiler.split(), *FLAGS, str(folder / "library.c"), "-o", str(draft)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        compiled = draft.read_bytes()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the compiled core is left out: {error}\n{getattr(error, 'stderr', '')}")
        return False
    draft.write_bytes(compiled + seal(folder, compiled))
    draft.replace(library)
    return True


def seal(folder: Path, compiled: bytes) -> bytes:
    """The end of a library, so that one that is damaged or of other sources is not used."""
    found = hashlib.sha256()
    for path in sorted([*folder.glob("*.c"), *folder.glob("*.h")]):
        found.update(path.read_bytes())
    found.update(compiled)
    return found.digest()
