"""A hub id or a local path becomes a local checkpoint folder."""

import re
from dataclasses import dataclass
from pathlib import Path

from llm_compression.errors import CheckpointNotFoundError
from llm_compression.files.paths import user_path

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_FILE_ENDINGS = (".parquet", ".arrow", ".safetensors", ".bin", ".json")
# Weights lie at the root or, as old sentence-transformers saved them, in 0_Transformer; ONNX and
# OpenVINO folders are left alone.
_TEXT = ["*.json", "*/config.json", "vocab.txt", "merges.txt", "*Transformer/vocab.txt"]
_SAFETENSORS = ["model*.safetensors", "*Transformer/model*.safetensors"]
_SECOND = ["*.fp32-*"]  # the weights once more, as some repositories of Whisper have
_PICKLE = ["pytorch_model*.bin", "*Transformer/pytorch_model*.bin"]


@dataclass(frozen=True)
class Source:
    """A checkpoint folder and the name under which its origin is recorded."""

    folder: Path
    name: str
    revision: str | None


def resolve(
    id_or_path: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Source:
    """The local folder of a checkpoint; a path that exists never touches the network.

    Raises:
        CheckpointNotFoundError: neither a folder nor a repository that can be had.
    """
    path = user_path(id_or_path)
    if path.is_dir():
        return Source(path, path.resolve().name, None)
    if path.suffix == ".parquet" and path.is_file():
        raise CheckpointNotFoundError(
            f"{path} is a Parquet file, not a checkpoint; a weight table needs no conversion"
        )
    if path.exists() or not is_hub_id(id_or_path):
        raise CheckpointNotFoundError(
            f"no checkpoint folder at {id_or_path}; give a folder with config.json and weights, "
            "or a hub id such as sentence-transformers/all-MiniLM-L6-v2"
        )
    folder = _download(str(id_or_path), revision, cache_dir, token=token, offline=local_files_only)
    return Source(folder, str(id_or_path), folder.name)


def is_hub_id(name: str | Path) -> bool:
    """Whether ``name`` looks like a repository id, ``name`` or ``owner/name``, not a file."""
    if not isinstance(name, str) or name.endswith(_FILE_ENDINGS):
        return False
    return _HUB_ID.fullmatch(name) is not None


def _download(
    repository: str,
    revision: str | None,
    cache_dir: str | Path | None,
    *,
    token: str | bool | None,
    offline: bool,
) -> Path:
    from huggingface_hub import snapshot_download  # a slow import that local paths do not need

    def fetch(patterns: list[str]) -> Path:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=offline,
                token=token,
                allow_patterns=patterns,
                ignore_patterns=_SECOND,
            )
        )

    try:
        folder = fetch(_TEXT + _SAFETENSORS)
        found = any(path for pattern in _SAFETENSORS for path in folder.glob(pattern))
        return folder if found else fetch(_TEXT + _PICKLE)
    except Exception as error:  # errors of requests, httpx or httpx2, as the hub's release has it
        at = f" at revision {revision}" if revision else ""
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointNotFoundError(
            f"no folder {repository} here, and the hub gave no repository of that id{at} "
            f"({reason}); check the id, HF_TOKEN, HF_HUB_OFFLINE and the network"
        ) from error
