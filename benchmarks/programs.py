"""What a user would write with each library; `python -m benchmarks.programs` runs one of them.

Nothing heavy is imported up here, so that a process pays for its own library alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Encode = Callable[[list[str]], "np.ndarray"]
WARM_TEXTS = 64


def open_mapped(model: str) -> Encode:
    """This package on the memory-mapped copy."""
    from llm_compression import ArrowEngine

    return ArrowEngine(model).encode


def open_decoded(model: str) -> Encode:
    """This package on the Parquet file itself."""
    from llm_compression import ArrowEngine

    return ArrowEngine(model, mapped=False).encode


def open_sentence_transformers(model: str) -> Encode:
    """sentence-transformers on torch, float32."""
    from sentence_transformers import SentenceTransformer

    encode: Encode = SentenceTransformer(model, device="cpu").encode
    return encode


def open_transformers(model: str) -> Encode:
    """The model on its own with mean pooling, as its card shows."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    bert = AutoModel.from_pretrained(model).eval()

    def encode(texts: list[str]) -> np.ndarray:
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = bert(**tokens).last_hidden_state  # (B, T, D)
        mask = tokens["attention_mask"].unsqueeze(-1)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        embeddings: np.ndarray = torch.nn.functional.normalize(pooled).numpy()
        return embeddings

    return encode


OPENERS = {
    "mapped": open_mapped,
    "decoded": open_decoded,
    "sentence-transformers": open_sentence_transformers,
    "transformers": open_transformers,
}


def imported(module: str) -> dict[str, Any]:
    """Import one module and nothing else."""
    import_module(module)
    return {}


def first_embedding(opener: str, model: str, sentence: str) -> dict[str, Any]:
    """Import, open and embed one sentence; seconds of each step and the embedding."""
    start = time.perf_counter()
    encode = OPENERS[opener](model)
    opened = time.perf_counter()
    embedding = encode([sentence])[0]
    done = time.perf_counter()
    return {"open": opened - start, "first": done - opened, "embedding": embedding.tolist()}


def throughput(opener: str, model: str, texts: str, output: str) -> dict[str, Any]:
    """Embed the lines of a file after a warm-up; the embeddings go to ``output``."""
    import numpy as np
    import torch

    lines = Path(texts).read_text(encoding="utf-8").splitlines()
    encode = OPENERS[opener](model)
    encode(lines[:WARM_TEXTS])
    start = time.perf_counter()
    embeddings = encode(lines)
    seconds = time.perf_counter() - start
    np.save(output, embeddings)
    return {"seconds": seconds, "threads": torch.get_num_threads()}


PROGRAMS: dict[str, Callable[..., dict[str, Any]]] = {
    "import": imported,
    "first": first_embedding,
    "throughput": throughput,
}


def run(programs: Mapping[str, Callable[..., dict[str, Any]]], name: str, *arguments: str) -> None:
    """Run one program; its values and its peak memory are the last line of the output."""
    values = programs[name](*arguments)
    print(json.dumps({**values, "peak_kib": _peak_kib()}))


def _peak_kib() -> int:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


if __name__ == "__main__":
    run(PROGRAMS, *sys.argv[1:])
