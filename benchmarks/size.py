"""How many bytes a model takes: weight table, safetensors, plain zstd, mapped copy."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import zstandard
from safetensors.torch import load_file, save_file

from benchmarks.case import Case
from benchmarks.claims import Cell, Claim
from benchmarks.results import Section
from llm_compression import WeightLoader, convert
from llm_compression.weights.mapping import mapped_path

_ROUNDED = "float16 in float32"
_TARGETS = {"float32": 0.84, _ROUNDED: 0.44, "bfloat16": 0.70}
_ZSTD_LEVEL = 3


def measure(case: Case) -> list[Section]:
    """File sizes of the model in three kinds of stored values."""
    samples: dict[Cell, list[float]] = {}
    for kind, safetensors, table in _variants(case):
        samples[kind, "safetensors"] = [safetensors.stat().st_size]
        samples[kind, "safetensors.zst"] = [_zstd_bytes(safetensors)]
        samples[kind, "weight table"] = [table.stat().st_size]
        samples[kind, "mapped copy"] = [_mapped_bytes(table)]
    return [
        Section(
            name="size",
            title="Size on disk",
            note="Whole files. *float16 in float32*: the values rounded to float16 and stored as "
            "float32, as in many published checkpoints. `.zst`: plain zstd, level 3. "
            "A weight table also holds the tokenizer, the spec and checksums, "
            "which are not counted for safetensors. The mapped copy is made from the weight table "
            "and may be deleted at any time.",
            units=dict.fromkeys([column for _, column in samples], "bytes"),
            samples=samples,
            claims=[_claim(kind, target) for kind, target in _TARGETS.items()],
        )
    ]


def _claim(kind: str, target: float) -> Claim:
    return Claim(
        f"weight table / safetensors, {kind}",
        (kind, "weight table"),
        (kind, "safetensors"),
        target,
    )


def _variants(case: Case) -> Iterator[tuple[str, Path, Path]]:
    """Kind of values, safetensors file, weight table."""
    yield "float32", case.safetensors, case.table
    rounded = _copy(case, "rounded", lambda t: t.to(torch.float16).to(torch.float32))
    yield _ROUNDED, rounded, _table(case, rounded.parent)
    bfloat16 = _copy(case, "bfloat16", lambda t: t.to(torch.bfloat16))
    yield "bfloat16", bfloat16, _table(case, case.checkpoint, dtype="bfloat16")


def _copy(case: Case, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """The checkpoint with its floating tensors changed; gives its safetensors file."""
    folder = case.folder / name
    shutil.copytree(case.checkpoint, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    tensors = load_file(case.safetensors)
    changed = {n: change(t) if t.is_floating_point() else t for n, t in tensors.items()}
    save_file(changed, folder / case.safetensors.name, metadata={"format": "pt"})
    return folder / case.safetensors.name


def _table(case: Case, checkpoint: Path, dtype: str | None = None) -> Path:
    return convert(
        checkpoint, case.folder / f"{dtype or checkpoint.name}.parquet", dtype=dtype
    ).path


def _zstd_bytes(path: Path) -> int:
    return len(zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(path.read_bytes()))


def _mapped_bytes(table: Path) -> int:
    return mapped_path(WeightLoader(table, mapped=True).table).stat().st_size
