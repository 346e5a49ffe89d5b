"""Peak memory of a conversion: a few times the largest tensor, whatever the model's size.

Measured with largest tensors of 16, 32 and 128 MiB: 64 MiB, after which the pages of the source
are let go, and 4 to 5 times the largest tensor (its pages in the source, itself, its split pages,
their compressed form). To keep the model, or to keep what was written of it, breaks the bound.
"""

import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel

from tests.conftest import write_json
from tests.weights import work

MIB = 1 << 20
HIDDEN, INNER = 256, 8192
LARGEST = HIDDEN * INNER * 4  # 8 MiB
BOUND = 64 * MIB + 5 * LARGEST
LAYERS = 4  # 8.5 times the largest tensor, in five shards


def write_large(folder: Path, tiny: Path, kind: str, *, layers: int) -> Path:
    """A sharded checkpoint, a layer a shard; every layer holds the same random bits."""
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    config = json.loads((tiny / "config.json").read_text())
    sizes = {"hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": layers}
    write_json(folder / "config.json", {**config, **sizes})
    index: dict[str, str] = {}
    for i, shard in enumerate(shards(folder, layers)):
        if kind == "safetensors":
            save_file(shard, folder / (name := f"model-{i}.safetensors"))
        else:
            torch.save(shard, folder / (name := f"pytorch_model-{i}.bin"))
        index |= dict.fromkeys(shard, name)
    stem = "model.safetensors" if kind == "safetensors" else "pytorch_model.bin"
    write_json(folder / f"{stem}.index.json", {"weight_map": index})
    return folder


def shards(folder: Path, layers: int) -> list[dict[str, torch.Tensor]]:
    with torch.device("meta"):
        shapes = AutoModel.from_config(AutoConfig.from_pretrained(folder)).state_dict()
    parts: list[dict[str, torch.Tensor]] = [{} for _ in range(layers + 1)]
    values = torch.randn(HIDDEN * INNER, generator=torch.Generator().manual_seed(0))
    for name, tensor in shapes.items():
        layer = int(name.split(".")[2]) if ".layer." in name else layers
        parts[layer][name] = values[: tensor.numel()].view(tensor.shape).clone()
    return parts


@pytest.mark.parametrize("kind", ["safetensors", "pytorch_model.bin"])
def test_peak_memory_is_bounded_by_the_largest_tensor(
    processes: ForkServerContext, tiny_bert: Path, tmp_path: Path, kind: str
):
    peaks = []
    for layers in (LAYERS, 2 * LAYERS):
        source = write_large(tmp_path / f"{layers}", tiny_bert, kind, layers=layers)
        with ProcessPoolExecutor(1, mp_context=processes) as pool:
            peaks.append(pool.submit(work.extra_memory, tiny_bert, source, tmp_path).result())
        assert (tmp_path / "model.parquet").stat().st_size > 7 * LARGEST
        shutil.rmtree(source)
    assert max(peaks) < BOUND
    assert peaks[1] - peaks[0] < 2 * LARGEST
