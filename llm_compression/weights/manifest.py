"""The manifest as key-value metadata, written and read back with every check."""

from collections.abc import Mapping
from typing import TypeVar

from llm_compression.errors import (
    CorruptWeightTableError,
    NotAWeightTableError,
    SpecError,
    UnsupportedVersionError,
)
from llm_compression.spec import codec
from llm_compression.spec.model import ModelSpec
from llm_compression.weights import seal
from llm_compression.weights.checksum import fingerprint
from llm_compression.weights.schema import (
    FORMAT_VERSION,
    PREFIX,
    FileEntry,
    Manifest,
    Provenance,
    TensorEntry,
)

T = TypeVar("T")


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
        CorruptWeightTableError: the fingerprint does not belong to the contents.
    """
    name = identify(pairs, where)
    try:
        spec = _load(ModelSpec, pairs, "spec", where)
        tensors = _load(tuple[TensorEntry, ...], pairs, "tensors", where)
        files = _load(tuple[FileEntry, ...], pairs, "files", where)
        provenance = _load(Provenance, pairs, "provenance", where)
    except SpecError as error:
        raise CorruptWeightTableError(f"{error}; convert the model again") from error
    if fingerprint(spec, tensors, files) != name:
        raise CorruptWeightTableError(
            f"{where}: the fingerprint does not belong to the contents; convert the model again"
        )
    return Manifest(spec, tensors, files, provenance, name)


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
