"""Blueprint: all that conversion needs to know before the first tensor is read."""

from dataclasses import dataclass
from pathlib import Path

from llm_compression.conversion.apply import Plan
from llm_compression.conversion.source import Checkpoint
from llm_compression.spec.model import ModelSpec
from llm_compression.weights.schema import FileRole


@dataclass(frozen=True)
class Attachment:
    """A file to carry inside the weight table."""

    name: str
    content: bytes
    role: FileRole


@dataclass(frozen=True)
class Blueprint:
    """A checkpoint, the model that it holds, and what goes into its weight table."""

    checkpoint: Checkpoint
    inside: Path  # where the weights lie, relative to the checkpoint folder
    spec: ModelSpec
    plan: Plan
    attachments: tuple[Attachment, ...]
    notes: tuple[str, ...]


def attach(folder: Path, names: list[str]) -> list[Attachment]:
    """Those files of ``folder`` that are there, carried so that `export` can give them back."""
    present = [name for name in names if (folder / name).is_file()]
    return [Attachment(name, (folder / name).read_bytes(), FileRole.SOURCE) for name in present]
