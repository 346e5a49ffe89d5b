"""Checkpoint folders to convert, in every form that they are saved in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from llm_compression import WeightLoader

SINGLE = "model.safetensors"
PICKLE = "pytorch_model.bin"


def save_as(folder: Path, architecture: str, **options: Any) -> dict[str, torch.Tensor]:
    """Put a random model of a transformers class in place of the folder's weights."""
    import transformers

    (folder / SINGLE).unlink()
    torch.manual_seed(1)
    config = transformers.AutoConfig.from_pretrained(folder)
    model = getattr(transformers, architecture)(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    model.save_pretrained(folder, **options)
    return read_tensors(folder)


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the folder's safetensors files, as the library itself reads them.

    Clones, as its tensors are views of the file, which a test may write again.
    """
    paths = sorted(folder.glob("*.safetensors"))
    return {name: t.clone() for path in paths for name, t in load_file(path).items()}


def write_tensors(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Make these the folder's weights."""
    save_file(dict(tensors), folder / SINGLE, metadata={"format": "pt"})


def write_pickle(folder: Path, content: object, *, zipped: bool = True) -> None:
    """Make ``content`` the folder's weights, as torch saves it now or did before 1.6."""
    (folder / SINGLE).unlink(missing_ok=True)
    torch.save(content, folder / PICKLE, _use_new_zipfile_serialization=zipped)


def write_pickle_shards(folder: Path, tensors: Mapping[str, torch.Tensor], shards: int) -> None:
    """Make these the folder's weights, dealt out over ``shards`` files with an index."""
    (folder / SINGLE).unlink()
    parts = [f"pytorch_model-{i + 1:05d}-of-{shards:05d}.bin" for i in range(shards)]
    where = {name: parts[i % shards] for i, name in enumerate(tensors)}
    for part in parts:
        torch.save({n: t for n, t in tensors.items() if where[n] == part}, folder / part)
    index = {"metadata": {}, "weight_map": where}
    (folder / f"{PICKLE}.index.json").write_text(json.dumps(index))


def edit_json(path: Path, drop: tuple[str, ...] = (), **changes: object) -> None:
    """Change keys of a JSON object, or leave some out; no file means an empty object."""
    content = json.loads(path.read_text()) if path.exists() else {}
    kept = {key: value for key, value in {**content, **changes}.items() if key not in drop}
    path.write_text(json.dumps(kept))


def edit_config(folder: Path, drop: tuple[str, ...] = (), **changes: object) -> None:
    """Change keys of ``config.json``."""
    edit_json(folder / "config.json", drop, **changes)


def bits(tensor: torch.Tensor) -> bytes:
    """The tensor's values as bytes, so that a NaN equals itself and 0 is not -0."""
    return np.asarray(tensor.reshape(-1).view(torch.uint8)).tobytes()


def assert_same_bits(table: Path, source: Mapping[str, torch.Tensor]) -> None:
    """Every tensor of the source is in the table to the bit, or was dropped with a reason."""
    loader = WeightLoader(table)
    manifest = loader.table.manifest
    dropped = {entry.source for entry in manifest.provenance.dropped}
    assert all(entry.reason for entry in manifest.provenance.dropped)
    stored = {entry.source: entry for entry in manifest.tensors}
    assert set(stored) | dropped == set(source)
    assert not set(stored) & dropped
    for name, entry in stored.items():
        tensor = loader.get_tensor(entry.name)
        assert tensor.dtype == source[name].dtype
        assert tensor.shape == source[name].shape
        assert bits(tensor) == bits(source[name]), name


def move_into_subfolder(folder: Path) -> Path:
    """The layout of sentence-transformers 1: the transformer in a folder of its own, returned."""
    inner = folder / "0_Transformer"
    inner.mkdir()
    for path in [p for p in folder.iterdir() if p.is_file() and p.name != "modules.json"]:
        path.rename(inner / path.name)
    rows = json.loads((folder / "modules.json").read_text())
    rows[0]["path"] = inner.name
    (folder / "modules.json").write_text(json.dumps(rows))
    return inner
