"""convert: checkpoint in, verified weight table out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from llm_compression.conversion.blueprint import Blueprint
from llm_compression.conversion.dtypes import (
    cast,
    raw_bytes,
    stored_dtype,
    warn_non_finite,
)
from llm_compression.conversion.families import read_blueprint
from llm_compression.conversion.hub import Source, resolve
from llm_compression.conversion.source import dtype_name
from llm_compression.errors import CheckpointError, ConversionError
from llm_compression.files.atomic import atomic_write, output_errors
from llm_compression.files.paths import user_path
from llm_compression.spec.names import FLOAT_DTYPES
from llm_compression.version import __version__
from llm_compression.weights.reader import WeightTable, raw_values
from llm_compression.weights.schema import MODEL_FILE, Manifest, Provenance
from llm_compression.weights.writer import WeightWriter

Progress = Callable[[str, int, int], None]  # step, done, total


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did; every tensor was reopened and compared bit for bit."""

    path: Path
    fingerprint: str
    tensors: int
    parameters: int
    source_bytes: int
    stored_bytes: int
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


def convert(
    source: str | Path,
    output: str | Path,
    *,
    dtype: str | None = None,
    keep_decoder: bool = False,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    progress: Progress | None = None,
) -> ConversionReport:
    """Convert a checkpoint (a folder or hub id) into the weight table ``output``.

    ``dtype`` None keeps the source's dtypes and bits; ``float32``, ``float16`` or ``bfloat16``
    casts floating tensors, and the table records what they were. ``keep_decoder`` keeps the
    decoder of Whisper too, for `export`; embeddings need none. ``output`` may be a folder that
    exists; the table is then ``model.parquet`` inside it. It appears under its name only after
    every tensor was read back and compared bit for bit.

    Raises:
        ConversionError: a kind that names the file, the place and the remedy.
        OutputError: the output cannot be written.
        TargetBusyError: another process is converting to the same path.
    """
    if dtype is not None and dtype not in FLOAT_DTYPES:
        raise ConversionError(f"dtype {dtype!r} is not one of {', '.join(FLOAT_DTYPES)}")
    target = _target(user_path(output))
    origin = resolve(
        source,
        revision=revision,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        token=token,
    )
    blueprint = read_blueprint(origin.folder, keep_decoder=keep_decoder)
    _keep_source(target, origin, blueprint)
    provenance = _provenance(origin, blueprint)
    with output_errors(target), atomic_write(target) as draft:
        manifest = _write(draft.path, blueprint, provenance, dtype, progress)
        _verify(draft.path, blueprint, dtype, progress)
    return _report(target, blueprint, manifest)


def convert_once(origin: Source, target: Path, progress: Progress | None = None) -> None:
    """Convert as `convert` does, unless another process does it at this moment: then wait.

    Raises:
        ConversionError, OutputError: as `convert`.
    """
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target, wait=True) as draft:
            if target.is_file():
                draft.keep = False
                return
            blueprint = read_blueprint(origin.folder)
            _write(draft.path, blueprint, _provenance(origin, blueprint), None, progress)
            _verify(draft.path, blueprint, None, progress)


def _target(output: Path) -> Path:
    target = output / MODEL_FILE if output.is_dir() else output
    if not target.parent.is_dir():
        raise ConversionError(f"no folder {target.parent} to write {target.name} into; create it")
    return target


def _keep_source(target: Path, origin: Source, blueprint: Blueprint) -> None:
    read = [*blueprint.checkpoint.shards]
    read += [origin.folder / file.name for file in blueprint.attachments]
    if target.exists() and any(path.exists() and target.samefile(path) for path in read):
        raise ConversionError(f"{target} is a file of the checkpoint; choose another output")


def _write(
    path: Path,
    blueprint: Blueprint,
    provenance: Provenance,
    dtype: str | None,
    progress: Progress | None,
) -> Manifest:
    infos = blueprint.checkpoint.tensors()
    dtypes = sorted(
        {stored_dtype(infos[s].dtype, s, dtype) for s in blueprint.plan.sources.values()}
    )
    with WeightWriter(path, blueprint.spec, dtypes) as writer:
        for name, source, tensor in _tensors(blueprint, dtype, "converting", progress):
            warn_non_finite(source, tensor)
            writer.add_tensor(
                name,
                raw_bytes(tensor),
                dtype_name(tensor.dtype),
                tuple(tensor.shape),
                source=source,
                source_dtype=infos[source].dtype,
            )
        for file in blueprint.attachments:
            writer.add_file(file.name, file.content, file.role)
        return writer.finish(provenance)


def _verify(path: Path, blueprint: Blueprint, dtype: str | None, progress: Progress | None) -> None:
    table = WeightTable(path)
    source_tensors = _tensors(blueprint, dtype, "verifying", progress)
    for (entry, array), (name, source, tensor) in zip(table.stream(), source_tensors, strict=True):
        same = np.array_equal(raw_values(array, entry.dtype), raw_bytes(tensor))
        if not same or (entry.name, entry.shape) != (name, tuple(tensor.shape)):
            raise ConversionError(f"{source} reads back differently from {path}; report this fault")
    for file in blueprint.attachments:
        if table.read_file(file.name) != file.content:
            raise ConversionError(f"{file.name} reads back differently; report this fault")


def _tensors(
    blueprint: Blueprint, dtype: str | None, step: str, progress: Progress | None
) -> Iterator[tuple[str, str, torch.Tensor]]:
    sources = blueprint.plan.sources
    for done, (name, source) in enumerate(sources.items()):
        if progress:
            progress(step, done, len(sources))
        yield name, source, cast(source, blueprint.checkpoint.tensor(source), dtype)
    if progress:
        progress(step, len(sources), len(sources))


def _provenance(origin: Source, blueprint: Blueprint) -> Provenance:
    config = blueprint.checkpoint.config
    named = config.get("architectures") or [config["model_type"]]
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise CheckpointError(f"{origin.folder}: config.json says architectures = {named!r}")
    return Provenance(
        source=origin.name,
        revision=origin.revision,
        architecture=named[0],
        converter=f"llm-compression {__version__}",
        files=blueprint.checkpoint.source_files(blueprint.inside),
        dropped=blueprint.plan.dropped,
    )


def _report(path: Path, blueprint: Blueprint, manifest: Manifest) -> ConversionReport:
    return ConversionReport(
        path=path,
        fingerprint=manifest.fingerprint,
        tensors=len(manifest.tensors),
        parameters=sum(int(np.prod(entry.shape)) for entry in manifest.tensors),
        source_bytes=sum(shard.stat().st_size for shard in blueprint.checkpoint.shards),
        stored_bytes=path.stat().st_size,
        dropped=tuple(f"{d.source}: {d.reason}" for d in manifest.provenance.dropped),
        notes=blueprint.notes,
    )
