"""This package: the model class that runs one batch, below its encoder; an engine for texts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.programs import Encode, open_mapped
from benchmarks.runtimes.works import MINILM, VIT, Form, Run, Work


def open_model(work: Work, kind: str, folder: Path) -> Run:
    """From texts, token ids, pixels or mel frames to embeddings."""
    path = folder / f"{work.model}.parquet"
    if work.form is Form.OPENING:
        return opening(open_mapped, path)
    if work.form is Form.CAPTIONS:
        from llm_compression import ArrowEngine

        return ArrowEngine(path, compute_dtype=kind).encode
    if work.model == MINILM:
        run = texts(path, kind)
        if work.form is Form.TRAFFIC:
            return lambda batches: np.concatenate([run(batch) for batch in batches])
        return lambda ids: run(ids.tolist())
    return pictures(path, kind) if work.model == VIT else sounds(path, kind)


def opening(opener: Callable[[str], Encode], path: Path) -> Run:
    """Open the model at ``path`` each time."""

    def run(texts: list[str]) -> np.ndarray:
        return opener(str(path))(texts)

    return run


def texts(path: Path, kind: str) -> Run:
    """Lists of token ids to embeddings of unit length."""
    from llm_compression import TextEncoder
    from llm_compression.multimodal.text.tokenizer import Tokens

    encoder = TextEncoder(path, compute_dtype=kind)
    return lambda ids: encoder.embed_tokens([Tokens(i, len(i)) for i in ids], normalize=True)


def pictures(path: Path, kind: str) -> Run:
    """Pixels (n, C, S, S) to embeddings."""
    import torch

    from llm_compression import VisionEncoder

    model = VisionEncoder(path, compute_dtype=kind)._model
    return lambda pixels: model(
        torch.from_numpy(pixels), normalized=False, whole=False
    ).embedding.numpy()


def sounds(path: Path, kind: str) -> Run:
    """Mel frames (n, M, S) of whole windows to embeddings."""
    from llm_compression import AudioEncoder

    model = AudioEncoder(path, compute_dtype=kind)._model
    positions = model.spec.max_source_positions

    def run(frames: np.ndarray) -> np.ndarray:
        heard = [positions] * len(frames)
        return model(list(frames), heard, fast=False, normalized=False).embedding.numpy()

    return run
