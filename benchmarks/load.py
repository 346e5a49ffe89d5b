"""How long all tensors take to load: decoded from Parquet, and mapped."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from benchmarks.case import Case, WrongResultError
from benchmarks.claims import Cell, Claim
from benchmarks.measure import interleave, one_core, timed
from benchmarks.results import Section
from llm_compression import WeightLoader
from llm_compression.weights.mapping import mapped_path
from llm_compression.weights.reader import WeightTable

_COLUMNS = ["float32"]
Tensors = Mapping[str, torch.Tensor]
_ONE, _ALL = "1 core", "all cores"
_VERIFIED, _UNVERIFIED = "WeightLoader", "WeightLoader, verify=False"
_TARGETS = {_VERIFIED: 1.3, _UNVERIFIED: 1.05}
_TABLE, _TABLE_MAPPED = "read_table", "read_table, memory_map=True"
_FILE_MAPPED = "ParquetFile, memory_map=True"
_OPEN, _TOUCH, _MAKE = "open every tensor", "open and sum every value", "make the copy"
_MAPPED = "WeightLoader, mapped=True, verify=False"
_CHECKED = "WeightLoader, mapped=True"
_SAFETENSORS = ("safetensors load_file", "safetensors safe_open")
_MAPPED_TARGET = 1.5


def measure(case: Case) -> list[Section]:
    """Decoding against a bare pyarrow read; the mapped copy against safetensors' mmap."""
    checks = [_check_tensors(case), _check_bare_read(case)]
    return [_decoded(case, checks), _mapped(case, checks[:1])]


def _decoded(case: Case, checks: list[str]) -> Section:
    contestants = {cell: partial(_decoding, cell, do) for cell, do in _decoders(case.table).items()}
    return Section(
        name="load",
        title="Load all tensors from the weight table",
        note="One process, files in the page cache. Beside it the bare reads of pyarrow, with "
        '`columns=["float32"]` and nothing else. All cores is the default of both; for 1 core '
        "they run with `threads=1` and `use_threads=False`, pinned, because `read_table` decodes "
        "on a second core even so.",
        units={_ONE: "ms", _ALL: "ms"},
        samples=interleave(contestants, case.rounds(full=41, quick=5)),
        claims=[
            Claim(f"{ours} / {bare}, {threads}", (ours, threads), (bare, threads), target)
            for ours, target in _TARGETS.items()
            for bare in (_TABLE, _TABLE_MAPPED, _FILE_MAPPED)
            for threads in (_ONE, _ALL)
        ],
        checks=checks,
    )


def _decoders(path: Path) -> dict[Cell, Callable[[], object]]:
    readers: dict[str, Callable[..., object]] = {
        _TABLE: partial(pq.read_table, path, columns=_COLUMNS),
        _TABLE_MAPPED: partial(pq.read_table, path, columns=_COLUMNS, memory_map=True),
        _FILE_MAPPED: partial(_read_file, path),
    }
    return {
        (_VERIFIED, _ONE): lambda: _decode(path, threads=1),
        (_VERIFIED, _ALL): lambda: _decode(path),
        (_UNVERIFIED, _ONE): lambda: _decode(path, threads=1, verify=False),
        (_UNVERIFIED, _ALL): lambda: _decode(path, verify=False),
        **{(name, _ONE): partial(read, use_threads=False) for name, read in readers.items()},
        **{(name, _ALL): partial(read, use_threads=True) for name, read in readers.items()},
    }


def _mapped(case: Case, checks: list[str]) -> Section:
    openers: dict[str, Callable[[], Tensors]] = {
        _MAPPED: lambda: _open_mapped(case.table, verify=False),
        _CHECKED: lambda: _open_mapped(case.table),
        _SAFETENSORS[0]: lambda: _load_file(case.safetensors),
        _SAFETENSORS[1]: lambda: _safe_open(case.safetensors),
    }
    opened = {(name, _OPEN): opener for name, opener in openers.items()}
    touched = {(name, _TOUCH): partial(_sum, opener) for name, opener in openers.items()}
    rounds = case.rounds(full=101, quick=21)
    samples = interleave(_timers(opened), rounds) | interleave(_timers(touched), rounds)
    made = interleave({(_MAPPED, _MAKE): partial(_make_copy, case.table)}, case.rounds(5, 1))
    return Section(
        name="mapped",
        title="Open all tensors memory-mapped",
        note="One process, files in the page cache. The mapped copy is made once from the weight "
        "table, every value verified and the file synced to disk. Opening checks every other byte "
        "of it, and by default every value as well.",
        units={_OPEN: "ms", _TOUCH: "ms", _MAKE: "ms"},
        samples=samples | made,
        claims=[
            Claim(f"mapped / {other}, {column}", (_MAPPED, column), (other, column), _MAPPED_TARGET)
            for column in (_OPEN, _TOUCH)
            for other in _SAFETENSORS
        ],
        checks=checks,
    )


def _timers(
    actions: Mapping[Cell, Callable[[], object]],
) -> dict[Cell, Callable[[], float]]:
    return {cell: partial(_milliseconds, action) for cell, action in actions.items()}


def _decoding(cell: Cell, action: Callable[[], object]) -> float:
    with one_core() if cell[1] == _ONE else nullcontext():
        return _milliseconds(action)


def _milliseconds(action: Callable[[], object]) -> float:
    return 1e3 * timed(action)


def _decode(path: Path, *, threads: int | None = None, verify: bool = True) -> Tensors:
    return WeightLoader(path, threads=threads, verify=verify).load_weights()


def _open_mapped(path: Path, *, verify: bool = True) -> Tensors:
    return WeightLoader(path, mapped=True, verify=verify).load_weights()


def _read_file(path: Path, *, use_threads: bool) -> pa.Table:
    return pq.ParquetFile(path, memory_map=True).read(columns=_COLUMNS, use_threads=use_threads)


def _load_file(path: Path) -> Tensors:
    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors


def _safe_open(path: Path) -> Tensors:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _sum(opener: Callable[[], Tensors]) -> float:
    return sum(float(tensor.sum()) for tensor in opener().values())


def _make_copy(path: Path) -> float:
    mapped_path(WeightTable(path)).unlink(missing_ok=True)
    return _milliseconds(lambda: _open_mapped(path))


def _check_tensors(case: Case) -> str:
    """Every way of loading gives the checkpoint's tensors, bit for bit."""
    entries = WeightTable(case.table).manifest.tensors
    wanted = _safe_open(case.safetensors)
    ways = [_decode(case.table), _decode(case.table, threads=1, verify=False)]
    for found in [*ways, _open_mapped(case.table)]:
        for entry in entries:
            if not _identical(found[entry.name], wanted[entry.source]):
                raise WrongResultError(f"{entry.name} differs from {entry.source}")
    return f"all {len(entries)} tensors identical to safetensors', decoded and mapped"


def _identical(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b))


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def _check_bare_read(case: Case) -> str:
    """The bare read decodes the same values, so the two times are of the same work."""
    column = pq.read_table(case.table, columns=_COLUMNS).column(0)
    bare = pa.chunked_array([c.drop_null() for c in column.chunks]).to_numpy()
    ours = [t.reshape(-1).numpy() for t in _decode(case.table).values()]
    if not np.array_equal(bare.view(np.uint32), np.concatenate(ours).view(np.uint32)):
        raise WrongResultError("the bare read gives other values than WeightLoader")
    return "the bare read gives the same values"
