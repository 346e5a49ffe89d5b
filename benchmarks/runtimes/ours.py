"""This package: the model class that runs one batch, below its encoder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.runtimes.works import MINILM, VIT, Work

Run = Callable[[np.ndarray], np.ndarray]


def open_model(work: Work, kind: str, folder: Path) -> Run:
    """From token ids, pixels or mel frames to embeddings."""
    import torch

    from llm_compression import AudioEncoder, TextEncoder, VisionEncoder
    from llm_compression.multimodal.text.tokenizer import Tokens

    path = folder / f"{work.model}.parquet"
    if work.model == MINILM:
        text = TextEncoder(path, compute_dtype=kind)

        def texts(ids: np.ndarray) -> np.ndarray:
            tokens = [Tokens(row, len(row)) for row in ids.tolist()]
            return text.embed_tokens(tokens, normalize=True)

        return texts
    if work.model == VIT:
        vision = VisionEncoder(path, compute_dtype=kind)._model
        return lambda x: vision(torch.from_numpy(x), normalized=False).embedding.numpy()
    audio = AudioEncoder(path, compute_dtype=kind)._model
    positions = audio.spec.max_source_positions

    def sounds(frames: np.ndarray) -> np.ndarray:
        heard = [positions] * len(frames)
        return audio(list(frames), heard, fast=False, normalized=False).embedding.numpy()

    return sounds
