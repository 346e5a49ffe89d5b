"""What a user would write to embed a sound; `python -m benchmarks.audio_programs` runs one.

Nothing heavy is imported up here, so that a process pays for its own library alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.programs import run

if TYPE_CHECKING:
    import numpy as np

Encode = Callable[["np.ndarray"], "np.ndarray"]  # (n,) samples at 16 kHz -> (E,)
RATE = 16000


def open_ours(model: str, mode: str) -> Encode:
    """This package on the memory-mapped copy."""
    from llm_compression import AudioEncoder

    return partial(AudioEncoder(model, mode=mode).encode, sampling_rate=RATE)


def open_transformers(model: str) -> Encode:
    """transformers in float32: its extractor, its encoder, the mean of what hears."""  # noqa: D403
    import torch
    from transformers import WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    # the encoder alone: WhisperModel would hold a decoder as well, which nobody asks
    names = {r"^model\.encoder\.": "", r"^encoder\.": ""}
    encoder = WhisperEncoder.from_pretrained(model, key_mapping=names, dtype=torch.float32)
    extractor = WhisperFeatureExtractor.from_pretrained(model)

    def encode(samples: np.ndarray) -> np.ndarray:
        features = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features
        with torch.inference_mode():
            hidden = encoder(features).last_hidden_state[0]  # (1500, D)
        heard = -(-len(samples) // (2 * extractor.hop_length))
        embedding: np.ndarray = hidden[:heard].mean(0).numpy()
        return embedding

    return encode


OPENERS: dict[str, Callable[[str], Encode]] = {
    "exact": partial(open_ours, mode="exact"),
    "fast": partial(open_ours, mode="fast"),
    "transformers": open_transformers,
}


def first_embedding(opener: str, model: str, samples: str) -> dict[str, Any]:
    """Import, open and embed the samples of a file; seconds of each step and the embedding."""
    start = time.perf_counter()
    encode = OPENERS[opener](model)
    opened = time.perf_counter()
    import numpy as np

    embedding = encode(np.load(samples))
    done = time.perf_counter()
    return {"open": opened - start, "first": done - opened, "embedding": embedding.tolist()}


PROGRAMS: dict[str, Callable[..., dict[str, Any]]] = {"first": first_embedding}

if __name__ == "__main__":
    run(PROGRAMS, *sys.argv[1:])
