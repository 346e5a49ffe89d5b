"""Manifest: one whole version of a dataset, a small JSON file that is replaced at once."""

from dataclasses import dataclass, replace
from pathlib import Path

from llm_compression.errors import DamagedStorageError, SpecError, UnsupportedVersionError
from llm_compression.files.durable import durable_replace
from llm_compression.memory.identity import VectorIdentity
from llm_compression.spec import codec
from llm_compression.weights import seal

FORMAT_VERSION = 1
DATA, DELETED = "data", "deleted"
MANIFEST = "manifest.json"
_REMEDY = "restore it from a backup, or save the rows with llm_compression.recover(path, target)"


@dataclass(frozen=True)
class StoredFile:
    """A file of the dataset: its name, and what its bytes must be."""

    name: str
    rows: int
    bytes: int
    sum: str  # `cross_sum` of all bytes


@dataclass(frozen=True)
class FragmentEntry:
    """One Parquet file of rows; those in ``deleted`` are dead.

    ``footer`` is the SHA-256 of the Parquet footer, which readers check when they open the file,
    ``chunks`` the CRC-32 of each column chunk, which they check before they decode it.
    ``earliest`` and ``latest`` are microseconds since 1970.
    """

    file: StoredFile
    footer: str
    chunks: str
    identity: int  # index into the manifest's identities
    dtype: str
    earliest: int
    latest: int
    deleted: StoredFile | None = None

    @property
    def live(self) -> int:
        """Rows that are not deleted."""
        return self.file.rows - (self.deleted.rows if self.deleted else 0)


@dataclass(frozen=True)
class Manifest:
    """All fragments of one version, in the order in which those of one kind were stored.

    ``indexed`` says that large fragments shall have an approximate index.
    """

    modality: str
    step: int = 0
    format_version: int = FORMAT_VERSION
    identities: tuple[VectorIdentity, ...] = ()
    fragments: tuple[FragmentEntry, ...] = ()
    indexed: bool = False
    seal: str = seal.BLANK

    def to_bytes(self) -> bytes:
        """Sealed JSON."""
        blank = codec.dumps(replace(self, seal=seal.BLANK)).encode()
        return codec.dumps(replace(self, seal=seal.MARK + seal.digest(blank))).encode()

    def write(self, folder: Path) -> None:
        """Make this the dataset's version, for good once this returns.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        durable_replace(folder / MANIFEST, self.to_bytes())


def read_bytes(folder: Path) -> bytes | None:
    """The manifest of the folder as it is now; None where nothing was ever stored.

    Raises:
        DamagedStorageError: it is gone, or cannot be read.
    """
    found = _content(folder / MANIFEST)
    if found is None and any((folder / DATA).glob("*.parquet")):
        found = _content(folder / MANIFEST)  # again, as a first writer may have come between
        if found is None:
            raise DamagedStorageError(f"{folder / MANIFEST} is gone; {_REMEDY}")
    return found


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamagedStorageError(
            f"cannot read {path}: {error.strerror}; make it readable, or {_REMEDY}"
        ) from error


def parse(content: bytes | None, folder: Path, modality: str) -> Manifest:
    """What `read_bytes` gave.

    Raises:
        DamagedStorageError: its bytes are not those that were written.
        UnsupportedVersionError: a newer release wrote it.
    """
    if content is None:
        return Manifest(modality)
    where = str(folder / MANIFEST)
    if not seal.intact(content):
        raise DamagedStorageError(
            f"{where} is damaged: its bytes are not those that were written; {_REMEDY}"
        )
    try:
        found = codec.loads(Manifest, content.decode(), where)
    except SpecError as error:
        raise UnsupportedVersionError(f"{where} is of a newer release: {error}") from error
    if found.format_version != FORMAT_VERSION:
        raise UnsupportedVersionError(
            f"{where} has format version {found.format_version}, this release reads "
            f"{FORMAT_VERSION}; use a newer one"
        )
    if found.modality != modality:
        raise DamagedStorageError(
            f"{where} is of modality {found.modality!r}, expected {modality!r}; "
            "folders were moved or renamed"
        )
    return found
