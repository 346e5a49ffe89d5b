"""The manifest as key-value metadata, written and read back with every check."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from llm_compression.errors import (
    CorruptWeightTableError,
    NotAWeightTableError,
    SpecError,
    UnsupportedVersionError,
)
from llm_compression.spec import codec
from llm_compression.spec.model import ModelSpec
from llm_compression.spec.tensors import Shape
from llm_compression.weights import seal
from llm_compression.weights.checksum import fingerprint
from llm_compression.weights.schema import (
    FORMAT_VERSION,
    PREFIX,
    FileEntry,
    Manifest,
    Provenance,
    Quantization,
    TensorEntry,
)

T = TypeVar("T")
KEYS = ("format_version", "fingerprint", "spec", "tensors", "files", "provenance", "seal")


def to_metadata(manifest: Manifest) -> dict[str, str]:
    """Key-value pairs of a table, with a blank seal."""
    return {
        f"{PREFIX}format_version": str(FORMAT_VERSION),
        f"{PREFIX}fingerprint": manifest.fingerprint,
        f"{PREFIX}spec": codec.dumps(manifest.spec),
        f"{PREFIX}tensors": codec.dumps(manifest.tensors),
        f"{PREFIX}files": codec.dumps(manifest.files),
        f"{PREFIX}provenance": codec.dumps(manifest.provenance),
        f"{PREFIX}seal": seal.BLANK,
    }


def identify(pairs: Mapping[bytes, bytes], where: str) -> str:
    """The fingerprint, after a look at the version.

    Raises:
        NotAWeightTableError: the keys are not there.
        UnsupportedVersionError: a newer release wrote the file.
    """
    check_version(_get(pairs, "format_version", where), where)
    return _get(pairs, "fingerprint", where)


def from_metadata(pairs: Mapping[bytes, bytes], where: str) -> Manifest:
    """The manifest in a table's metadata.

    Raises:
        NotAWeightTableError: the keys are not there.
        UnsupportedVersionError: a newer release wrote the file.
        CorruptWeightTableError: its parts contradict each other.
    """
    name = identify(pairs, where)
    try:
        spec = _load(ModelSpec, pairs, "spec", where)
        tensors = _load(tuple[TensorEntry, ...], pairs, "tensors", where)
        files = _load(tuple[FileEntry, ...], pairs, "files", where)
        provenance = _load(Provenance, pairs, "provenance", where)
    except SpecError as error:
        raise CorruptWeightTableError(f"{error}; convert the model again") from error
    if contradictions := problems(tensors, files):
        raise CorruptWeightTableError(
            f"{where}: {'; '.join(contradictions)}; convert the model again"
        )
    if fingerprint(spec, tensors, files) != name:
        raise CorruptWeightTableError(
            f"{where}: the fingerprint does not belong to the contents; convert the model again"
        )
    return Manifest(spec, tensors, files, provenance, name)


def problems(tensors: Sequence[TensorEntry], files: Sequence[FileEntry]) -> list[str]:
    """What the entries say that cannot be: names, paths, quantisation that does not fit."""
    names = [entry.name for entry in tensors] + [f"file {file.name}" for file in files]
    found = [f"{name} stands twice" for name, n in Counter(names).items() if n > 1]
    found += [f"file {f.name!r} is no plain relative path" for f in files if not _plain(f.name)]
    shapes = {entry.name: entry.shape for entry in tensors}
    return found + [
        f"{entry.name} is quantised with {entry.quantization}, which does not fit"
        for entry in tensors
        if entry.quantization and not _fits(entry.quantization, entry.shape, shapes)
    ]


def _plain(name: str) -> bool:
    """Whether a file of this name stays inside the folder that it is exported to."""
    parts = name.split("/")
    return not {"", ".", ".."}.intersection(parts) and not re.search(r"[\\:\x00-\x1f]", name)


def _fits(by: Quantization, shape: Shape, shapes: Mapping[str, Shape]) -> bool:
    if not 0 <= by.axis < len(shape) or by.group_size < 1 or shape[by.axis] % by.group_size:
        return False
    groups = (*shape[: by.axis], shape[by.axis] // by.group_size, *shape[by.axis + 1 :])
    companions = [by.scale] + ([by.zero_point] if by.zero_point is not None else [])
    return all(shapes.get(name) == groups for name in companions)


def check_version(text: str, where: str) -> None:
    """Refuse what this release cannot read.

    Raises:
        UnsupportedVersionError: the version is newer, or no number.
    """
    if text != str(FORMAT_VERSION):
        raise UnsupportedVersionError(
            f"{where} has format version {text[:20]!r}, this release reads {FORMAT_VERSION}; "
            "upgrade llm-compression or convert the model again"
        )


def _get(pairs: Mapping[bytes, bytes], key: str, where: str) -> str:
    try:
        return pairs[f"{PREFIX}{key}".encode()].decode()
    except (KeyError, UnicodeDecodeError):
        raise NotAWeightTableError(
            f"{where} has no metadata {PREFIX}{key}: it is not a weight table; "
            "make one with `llm-compression convert`"
        ) from None


def _load(kind: type[T], pairs: Mapping[bytes, bytes], key: str, where: str) -> T:
    return codec.loads(kind, _get(pairs, key, where), f"{where}: {key}")
