"""Where the compiled core is left out, and what runs then."""

import ctypes
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from llm_compression import TextEncoder
from llm_compression.cores import cores
from llm_compression.inference import trial
from llm_compression.inference.inference_core import InferenceCore
from llm_compression.inference.lazy_core import LazyCore
from llm_compression.inference.native_core import NativeCore
from llm_compression.native import library as library_module
from llm_compression.native.library import Kind, library, seal
from llm_compression.native.sums import BackgroundSums
from llm_compression.weights import checksum
from llm_compression.weights.checksum import cross_sum, cross_sums
from llm_compression.weights.mapped import map_file

SOURCES = Path(library_module.__file__).parent


@pytest.fixture(autouse=True)
def _found_anew() -> object:
    caches = (library, trial.usable)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def core_of(table: Path) -> object:
    encoder = TextEncoder(table)
    encoder.encode("a cat")
    core = encoder._model._parts()[0].core
    return core._core if isinstance(core, LazyCore) else core


def test_is_there_where_it_can_be_built() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64" or not shutil.which("cc"):
        pytest.skip("no C compiler for this system")
    assert library() is not None, "the sources are newer than the installation: `make install`"


def test_is_used_where_it_can_be(tiny_table: Path) -> None:
    if trial.usable(Kind.FLOAT32) is None:
        pytest.skip("no compiled core here")
    assert isinstance(core_of(tiny_table), NativeCore)


@pytest.mark.parametrize("what", ["absent", "of other sources", "cut", "changed", "no library"])
def test_another_library_is_left_alone(
    what: str, tiny_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not library_module.PATH.exists():
        pytest.skip("no compiled library here")
    good, other = library_module.PATH.read_bytes(), tmp_path / "native.so"
    for source in [*SOURCES.glob("*.c"), *SOURCES.glob("*.h")]:
        shutil.copy(source, tmp_path)
    changed = bytearray(good)
    changed[len(changed) // 2] ^= 1
    contents = {"cut": good[:30_000], "changed": bytes(changed), "no library": b"not an ELF file"}
    if what != "absent":
        other.write_bytes(contents.get(what, good))
    if what == "of other sources":
        (tmp_path / "library.c").write_text("/* newer */")
    monkeypatch.setattr(library_module, "PATH", other)
    assert library() is None
    assert isinstance(core_of(tiny_table), InferenceCore)


def test_a_copy_of_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if library() is None:
        pytest.skip("no compiled library here")
    for part in SOURCES.iterdir():
        if part.is_file():
            shutil.copy(part, tmp_path)
    monkeypatch.setattr(library_module, "PATH", tmp_path / "native.so")
    library.cache_clear()
    assert library() is not None


def test_another_openmp(tiny_table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_module, "openmp", lambda: None)
    assert library() is None
    assert isinstance(core_of(tiny_table), InferenceCore)


def test_a_processor_without_its_instructions(
    tiny_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the library runs there, checksums neither."""
    TextEncoder(tiny_table)  # makes the mapped copy, which is summed when it is opened again
    monkeypatch.setattr(library_module.Library, "runs", lambda _self, _kind: False)
    monkeypatch.setattr(library_module.Library, "sums", None)
    monkeypatch.setattr(library_module.Library, "run", None)
    assert library() is None
    assert trial.usable(Kind.FLOAT32) is None
    assert isinstance(core_of(tiny_table), InferenceCore)


def test_no_more_threads_than_cores(tiny_table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = library()
    if found is None:
        pytest.skip("no compiled core here")
    encoder = TextEncoder(tiny_table)
    wanted, threads = encoder.encode("a cat"), []
    native, before = found._core, torch.get_num_threads()

    def run(*given: object) -> None:
        threads.append(given[3])
        native.core_run(*given)

    stand_in = SimpleNamespace(
        core_scratch=native.core_scratch, core_run=run, core_norm=native.core_norm
    )
    monkeypatch.setattr(found, "_core", stand_in)
    torch.set_num_threads(64)
    try:
        assert np.array_equal(encoder.encode("a cat"), wanted)
    finally:
        torch.set_num_threads(before)
    assert threads == [cores()]


def test_matrix_units_are_used_where_the_system_lets_them() -> None:
    found = library()
    if found is None:
        pytest.skip("no compiled core here")
    info = Path("/proc/cpuinfo").read_text()
    assert found.amx == ("amx_bf16" in info and "amx_int8" in info)


def test_a_library_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    if trial.usable(Kind.FLOAT32) is None:
        pytest.skip("no compiled core here")
    run = library_module.Library.run

    def wrong(self: library_module.Library, core: object, one: library_module.Pass, n: int) -> None:
        core.activation = library_module.ACTIVATIONS[None]  # type: ignore[attr-defined]
        run(self, core, one, n)  # type: ignore[arg-type]

    monkeypatch.setattr(library_module.Library, "run", wrong)
    trial.usable.cache_clear()
    assert all(trial.usable(kind) is None for kind in Kind)


def test_plain_operators_give_the_same(tiny_table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a cat sits on a mat", "red", "a dog runs . " * 5]
    first = torch.tensor(TextEncoder(tiny_table).encode(texts))
    monkeypatch.setattr(trial, "usable", lambda _kind: None)
    second = torch.tensor(TextEncoder(tiny_table).encode(texts))
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


def test_the_build_and_the_package_name_sources_alike(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['hatchling'] = None\n"
        "import types\n"
        "name = 'hatchling.builders.hooks.plugin.interface'\n"
        "sys.modules[name] = types.SimpleNamespace(BuildHookInterface=object)\n"
        "import hatch_build, pathlib\n"
        "folder = pathlib.Path(sys.argv[2])\n"
        "library = pathlib.Path(sys.argv[3])\n"
        "print(hatch_build.seal(folder, b'code').hex())\n"
        "print(hatch_build.compile_library(folder, library))"
    )
    root, made = SOURCES.parents[1], tmp_path / "native.so"
    command = [sys.executable, "-c", program, str(root), str(SOURCES), str(made)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert said[0] == seal(SOURCES, b"code").hex()
    assert (said[-1] == "True") == made.exists()
    broken = subprocess.run(
        command, check=True, capture_output=True, text=True, env={"CC": "false", "PATH": "/bin"}
    ).stdout
    assert "the compiled core is left out" in broken
    assert broken.split()[-1] == "False"


def test_a_thread_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BackgroundSums, "start", lambda _self: None)
    path = tmp_path / "bytes"
    content = np.random.default_rng(0).integers(256, size=200_000, dtype=np.uint8)
    path.write_bytes(content.tobytes())
    with cross_sums(map_file(path), [(3, 199_990)]) as found:
        assert found == []
    assert found == [cross_sum(content, 3, 199_990)]


@pytest.mark.parametrize("compiled", [True, False])
def test_sums_of_ranges_of_a_mapped_file(
    compiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(checksum, "library", lambda: None)
    elif library() is None:
        pytest.skip("no compiled library here")
    random = np.random.default_rng(1)
    content = random.integers(256, size=3_000_001, dtype=np.uint8)
    (tmp_path / "bytes").write_bytes(content.tobytes())
    ranges = [(0, 3_000_001), (7, 7), (1, 8), (5, 8173), (64, 64 + 8168), (4096, 2_999_999)]
    mapped = map_file(tmp_path / "bytes")
    with cross_sums(mapped, ranges) as found:
        assert found == [], "what is done meanwhile comes first"
    assert found == [cross_sum(content, *one) for one in ranges]
    assert mapped[:] == content.tobytes(), "pages that were let go come back"


def test_sums_are_awaited_where_something_else_fails(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(bytes(50_000_000))
    with (
        pytest.raises(RuntimeError, match="meanwhile"),
        cross_sums(map_file(tmp_path / "bytes"), [(0, 50_000_000)]) as found,
    ):
        raise RuntimeError("meanwhile")
    assert found == []


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as an exception, also where this process was started to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupting:
    """The library, in whose start of sums a signal arrives."""

    def __init__(self, core: ctypes.CDLL) -> None:
        self._core = core

    def __getattr__(self, name: str) -> object:
        return getattr(self._core, name)

    def sums_start(self, *given: object) -> None:
        self._core.sums_start(*given)
        signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("interruptible")
def test_sums_outlive_no_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that a thread still writes to must not be given to others."""
    found = library()
    if found is None:
        pytest.skip("no compiled library here")
    (tmp_path / "bytes").write_bytes(bytes(20_000_000))
    monkeypatch.setattr(found, "_core", Interrupting(found._core))
    ranges = [(i * 200_000, (i + 1) * 200_000) for i in range(100)]
    for _ in range(20):
        with (
            pytest.raises(KeyboardInterrupt),
            cross_sums(map_file(tmp_path / "bytes"), ranges),
        ):
            pytest.fail("nothing is done inside")
        assert not BackgroundSums._running


@pytest.mark.minilm
def test_openings_that_are_interrupted_anywhere(minilm_table: Path) -> None:
    """In a process of its own, as what goes wrong here ends it."""
    program = (
        "import random, signal, sys\n"
        "from llm_compression.weights.loader import WeightLoader\n"
        "def stop(*_): raise KeyboardInterrupt\n"
        "WeightLoader(sys.argv[1], mapped=True)\n"
        "signal.signal(signal.SIGALRM, stop)\n"
        "times, random = 0, random.Random(0)\n"
        "for _ in range(300):\n"
        "    try:\n"
        "        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 0.03))\n"
        "        WeightLoader(sys.argv[1], mapped=True)\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "    except KeyboardInterrupt:\n"
        "        times += 1\n"
        "print(times)\n"
    )
    command = [sys.executable, "-c", program, str(minilm_table)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=SOURCES.parents[1]
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 0
