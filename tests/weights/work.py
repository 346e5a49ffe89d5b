"""What the tests' other processes do: module-level functions, so that they can be named to them."""

import os
import resource
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

from llm_compression.conversion.convert import convert
from llm_compression.errors import LLMCompressionError
from llm_compression.files.atomic import atomic_write
from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.mapping import mapped_path


def wait_until(moment: float) -> None:
    """Start together: `time.monotonic` is one clock for all processes of a machine."""
    while time.monotonic() < moment:
        pass


def convert_when_told(ready: Connection, source: Path, target: Path) -> None:
    """Say that all is ready and convert at once."""
    ready.send("ready")
    convert(source, target)


def convert_at(moment: float, source: Path, target: Path) -> str:
    """The fingerprint, or the kind of error."""
    wait_until(moment)
    try:
        return convert(source, target).fingerprint
    except LLMCompressionError as error:
        return type(error).__name__


def convert_bytes(source: Path, target: Path) -> bytes:
    """The weight table's content."""
    return convert(source, target).path.read_bytes()


def convert_on_a_small_disk(source: Path, target: Path, limit: int) -> str:
    """The error of a conversion that may write ``limit`` bytes to a file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        convert(source, target)
    except LLMCompressionError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def write_and_hang(ready: Connection, path: Path) -> None:
    """Write half of a file and wait to be killed."""
    with atomic_write(path) as draft:
        draft.path.write_bytes(b"half of it" * 1000)
        ready.send("half")
        time.sleep(600)


def fork_within_and_hang(ready: Connection, path: Path) -> None:
    """Write half of a file, fork a child, say its number and wait, as the child does."""
    with atomic_write(path) as draft:
        draft.path.write_bytes(b"half of it" * 1000)
        child = os.fork()
        if child:
            ready.send(child)
        time.sleep(600)


def open_mapped_at(moment: float, path: Path, cache: Path) -> tuple[bool, Path]:
    """Open the mapped copy, verify it, and say where it lies."""
    os.environ["LLM_COMPRESSION_CACHE"] = str(cache)
    wait_until(moment)
    loader = WeightLoader(path, mapped=True)
    loader.verify()
    return loader.is_mapped, mapped_path(loader.table)


def open_mapped_when_told(ready: Connection, path: Path, cache: Path) -> None:
    """Say that all is ready and make the mapped copy at once."""
    os.environ["LLM_COMPRESSION_CACHE"] = str(cache)
    ready.send("ready")
    WeightLoader(path, mapped=True)


def map_on_a_small_disk(path: Path, cache: Path, limit: int) -> list[str]:
    """The warnings of opening a mapped copy where a file may have ``limit`` bytes."""
    os.environ["LLM_COMPRESSION_CACHE"] = str(cache)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        WeightLoader(path, mapped=True).load_weights()
    return [warning.category.__name__ for warning in said]


def touch_mapped(pipe: Connection, path: Path, cache: Path) -> None:
    """Read every mapped value, count pages when told, hold the mapping until told to go."""
    os.environ["LLM_COMPRESSION_CACHE"] = str(cache)
    loader = WeightLoader(path, mapped=True)
    for tensor in loader.load_weights().values():
        tensor.view(-1).max()
    pipe.send("touched")
    pipe.recv()
    pipe.send(page_counts(mapped_path(loader.table)))
    pipe.recv()


def page_counts(path: Path) -> dict[str, int]:
    """What the kernel says of this process's mappings of ``path``, bytes by kind."""
    counts: dict[str, int] = {}
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        key, *values = line.split()
        if "-" in key and not key.endswith(":"):
            inside = line.endswith(f" {path}")
        elif inside and len(values) == 2 and values[1] == "kB":
            counts[key[:-1]] = counts.get(key[:-1], 0) + int(values[0]) * 1024
    return counts


def extra_memory(warm_up: Path, source: Path, folder: Path) -> int:
    """Bytes by which converting ``source`` raises this process's peak above its present size."""
    convert(warm_up, folder / "warm-up.parquet")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = status("VmRSS")
    convert(source, folder / "model.parquet")
    return status("VmHWM") - before


def status(key: str) -> int:
    """Bytes that the kernel reports of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
