"""The towers of a user's own model: inputs, how we run them, and how transformers does."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.runtimes import ours
from benchmarks.runtimes.floor import Floor, text_batches, whole_batch
from benchmarks.runtimes.works import Run
from llm_compression import WeightLoader
from llm_compression.conversion.hub import resolve
from llm_compression.conversion.sentence_transformers import read_modules
from llm_compression.errors import InputError
from llm_compression.inference.sequences import Sequences
from llm_compression.multimodal.audio.model import audio_parts
from llm_compression.multimodal.pooling import normalize, pool
from llm_compression.multimodal.text.model import text_parts
from llm_compression.multimodal.vision.model import vision_parts
from llm_compression.spec.model import Family, ModelSpec
from llm_compression.validation.reference import load_model
from llm_compression.validation.validate import check_family


@dataclass(frozen=True)
class Tower:
    """One tower of a model, on so many inputs as it is asked for."""

    name: str
    inputs: Callable[[int], Any]
    open: Callable[[Path, str], Run]  # a table, in a compute type
    floor: Callable[[int, str], Floor]
    refer: Callable[[Any], Run]  # to a model of transformers


def towers(spec: ModelSpec, tokens: int) -> Iterator[Tower]:
    """Those that the model has; texts have so many ``tokens``.

    Raises:
        InputError: the model has no positions for them.
    """
    if spec.text:
        yield _texts(spec, tokens)
    if spec.vision:
        yield _pictures(spec)
    if spec.audio:
        yield _sounds(spec)


def reference(loader: WeightLoader, checkpoint: str) -> Any:
    """The checkpoint in transformers with its default attention, which validation replaces.

    Raises:
        ParityError: it does not load, or is another architecture.
        CheckpointNotFoundError: there is none.
    """
    folder = resolve(checkpoint).folder
    place = folder / read_modules(folder).transformer
    check_family(place, loader.spec)
    model = load_model(place, loader.spec, loader.table.manifest.tensors)
    model.set_attn_implementation("sdpa")
    return model


def _texts(spec: ModelSpec, tokens: int) -> Tower:
    text, tokenizer, embedding = text_parts(spec)
    if not 1 <= tokens <= text.max_tokens:
        raise InputError(f"--tokens is {tokens}; the model takes 1 to {text.max_tokens}")
    special = {tokenizer.pad_token_id, tokenizer.eos_token_id}
    words = [i for i in range(text.vocab_size) if i not in special]

    def inputs(count: int) -> list[list[int]]:
        ids = np.random.default_rng(0).choice(words, (count, tokens))
        if tokenizer.eos_token_id is not None:
            ids[:, -1] = tokenizer.eos_token_id
        found: list[list[int]] = ids.tolist()
        return found

    def refer(model: Any) -> Run:
        run = getattr(model, "get_text_features", model)

        def embed(batch: Sequence[Sequence[int]]) -> torch.Tensor:
            ids = torch.tensor(batch)
            output = run(input_ids=ids, attention_mask=torch.ones_like(ids))
            if spec.family is not Family.BERT:
                return normalize(_embedding(output))
            rows, dense = output.last_hidden_state.flatten(0, 1), Sequences.dense(*ids.shape)
            end = tokenizer.eos_token_id
            return normalize(pool(embedding.pooling, rows, ids.flatten(), dense, end))

        return _arrays(embed)

    def floor(count: int, kind: str) -> Floor:
        return Floor(text, text_batches([tokens] * count), kind)

    return Tower(f"texts of {tokens} tokens", inputs, ours.texts, floor, refer)


def _pictures(spec: ModelSpec) -> Tower:
    vision, _ = vision_parts(spec)
    shape = (vision.num_channels, vision.image_size, vision.image_size)

    def refer(model: Any) -> Run:
        run = getattr(model, "get_image_features", model)
        return _arrays(lambda pixels: _embedding(run(pixel_values=torch.from_numpy(pixels))))

    def floor(count: int, kind: str) -> Floor:
        return Floor(vision, whole_batch(vision, count), kind)

    return Tower("pictures", lambda n: _noise(n, *shape), ours.pictures, floor, refer)


def _sounds(spec: ModelSpec) -> Tower:
    audio, sound = audio_parts(spec)
    shape = (audio.num_mel_bins, sound.window_frames)
    seconds = sound.window_samples / sound.sampling_rate

    def refer(model: Any) -> Run:
        encoder = getattr(model, "encoder", model)
        return _arrays(lambda x: encoder(torch.from_numpy(x)).last_hidden_state.mean(1))

    def floor(count: int, kind: str) -> Floor:
        return Floor(audio, whole_batch(audio, count), kind)

    name = f"sounds of {seconds:g} s, from mel frames"
    return Tower(name, lambda n: _noise(n, *shape), ours.sounds, floor, refer)


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _arrays(embed: Callable[[Any], torch.Tensor]) -> Run:
    def run(given: Any) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = embed(given).numpy()
        return found

    return run


def _embedding(output: Any) -> torch.Tensor:
    """What CLIP gives out, which releases and classes of transformers name differently."""
    names = ("text_embeds", "image_embeds", "pooler_output")
    found = [value for name in names if (value := getattr(output, name, None)) is not None]
    embedding: torch.Tensor = found[0] if found else output
    return embedding
