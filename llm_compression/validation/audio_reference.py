"""The audio side of the reference: mel frames, and taps of the audio tower."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from llm_compression.multimodal.audio.input import name_of, open_sound
from llm_compression.multimodal.audio.model import audio_parts
from llm_compression.multimodal.audio.processor import resampled
from llm_compression.spec.model import ModelSpec
from llm_compression.validation.compare import largest
from llm_compression.validation.reference import (
    Place,
    Tapped,
    block_taps,
    numpy_taps,
    tapping,
    transformers,
)
from llm_compression.weights.schema import TensorEntry


def run_sounds(
    model: Any,
    spec: ModelSpec,
    tensors: Sequence[TensorEntry],
    sounds: Sequence[object],
    sampling_rate: int | None,
    *,
    dtype: torch.dtype = torch.float32,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Taps of the first windows of ``sounds`` by transformers, ``frames`` first, and their noise.

    The noise of a tap is its largest change, over its largest value, when every frame moves to the
    next number above or below it, or is rounded to another ``dtype``: nothing that computes in
    that type can be asked to agree better.

    Raises:
        ParityError: the model has not the modules.
        InputError: a sound that is none.
    """
    audio, sound = audio_parts(spec)
    rate = sound.sampling_rate
    extractor = transformers().WhisperFeatureExtractor(
        feature_size=audio.num_mel_bins,
        sampling_rate=rate,
        hop_length=sound.hop_length,
        chunk_length=sound.chunk_length,
        n_fft=sound.n_fft,
    )
    tapped, encoder = _tapped(spec), getattr(model, "encoder", model)
    found: list[dict[str, torch.Tensor]] = []
    changes: list[dict[str, float]] = []
    for index, source in enumerate(sounds):  # one by one: plain attention needs much memory
        blocks = resampled(open_sound(source, name_of(source, index), sampling_rate), rate)
        samples = np.concatenate(list(blocks))[: sound.window_samples]
        whole = np.pad(samples, (0, sound.window_samples - len(samples)))
        # the path in double precision; the one on torch differs from it by up to 1e-4
        frames = torch.from_numpy(extractor._np_extract_fbank_features(whole[None], "cpu")).float()
        with tapping(model, tapped, tensors) as moved:
            encoder(_moved(frames, dtype, seed=index))
        with tapping(model, tapped, tensors) as taps:
            encoder(frames)
        changes.append({name: float((taps[name] - moved[name]).abs().max()) for name in taps})
        heard = -(-len(samples) // (2 * sound.hop_length))
        pooled = taps["final_norm"][:, :heard].mean(dim=1)
        found.append({"frames": frames, **taps, "pooled": pooled, "embedding": pooled})
    taken = numpy_taps({name: torch.cat([one[name] for one in found]) for name in found[0]})
    noise = {name: max(c[name] for c in changes) / largest(taken[name]) for name in changes[0]}
    return taken, noise


def _moved(frames: torch.Tensor, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """``frames`` in ``dtype``; in float32 each one number up or down, drawn by ``seed``."""
    if dtype is not torch.float32:
        return frames.to(dtype).float()
    drawn = torch.rand(frames.shape, generator=torch.Generator().manual_seed(seed))
    return frames.nextafter((drawn - 0.5) * torch.inf)


def _tapped(spec: ModelSpec) -> list[Tapped]:
    audio, _ = audio_parts(spec)
    return [
        Tapped("embeddings", "audio.block.00.attn_norm.weight", Place.INPUT),
        *block_taps("audio", audio),
        Tapped("final_norm", "audio.final_norm.weight"),
    ]
