"""Feeding: texts of many lengths for a runtime that takes padded batches with a mask."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.runtimes.works import Form, Run, Work

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Graph = Callable[[list[np.ndarray]], np.ndarray]  # its inputs -> embeddings (n, E)
_BATCH = 32


def feed(work: Work, folder: Path, run: Graph) -> Run:
    """The workload by ``run``: as it is, or in batches that are padded to their longest text."""
    if work.form is Form.BATCH:
        return lambda given: run([given])
    if work.form is Form.TRAFFIC:
        return lambda batches: np.concatenate([run(padded(batch)) for batch in batches])
    tokenizer = _tokenizer(folder / work.model)
    return lambda texts: _sorted([t.ids for t in tokenizer.encode_batch_fast(texts)], run)


def padded(texts: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Token ids and mask, both (n, T)."""
    lengths = np.array([len(ids) for ids in texts])
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    ids = np.zeros_like(mask)
    ids[mask == 1] = np.concatenate(texts)
    return [ids, mask]


def _sorted(texts: Sequence[Sequence[int]], run: Graph) -> np.ndarray:
    """Texts of like length together, so that little is padded; rows in the order given."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    parts = [order[i : i + _BATCH] for i in range(0, len(order), _BATCH)]
    found = np.concatenate([run(padded([texts[i] for i in part])) for part in parts])
    rows: np.ndarray = found[np.argsort(order)]
    return rows


def _tokenizer(checkpoint: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    options = json.loads((checkpoint / "sentence_bert_config.json").read_text())
    tokenizer.enable_truncation(options["max_seq_length"])
    tokenizer.no_padding()
    return tokenizer
