"""The vision side of the reference: pixels, and taps of the vision tower."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_compression.conversion.preprocessing import PREPROCESSOR, PROCESSOR
from llm_compression.multimodal.vision.input import name_of, open_rgb
from llm_compression.multimodal.vision.model import vision_parts
from llm_compression.spec.model import ModelSpec
from llm_compression.validation.reference import (
    Tapped,
    block_taps,
    load_part,
    numpy_taps,
    tapping,
    transformers,
)
from llm_compression.weights.schema import TensorEntry


def run_images(
    model: Any,
    checkpoint: Path,
    spec: ModelSpec,
    tensors: Sequence[TensorEntry],
    images: Sequence[object],
) -> dict[str, np.ndarray]:
    """Run ``images`` as one batch through transformers in float32; its taps, ``pixels`` first.

    Raises:
        ParityError: the processor does not load, or the model has not the modules.
        InputError: an image that is none.
    """
    pixels = _pixels(checkpoint, spec, images)
    with tapping(model, _tapped(spec), tensors) as taps:
        run = getattr(model, "get_image_features", model)
        run(pixel_values=pixels)
    taps.setdefault("embedding", taps["pooled"])
    return numpy_taps({"pixels": pixels, **taps})


def _pixels(checkpoint: Path, spec: ModelSpec, images: Sequence[object]) -> torch.Tensor:
    library = transformers()
    # release 5 has the processor on Pillow under a name of its own
    kind = getattr(library, "CLIPImageProcessorPil", None) or library.CLIPImageProcessor
    if any((checkpoint / name).is_file() for name in (PREPROCESSOR, PROCESSOR)):
        processor = load_part(kind, checkpoint)
    else:
        side = vision_parts(spec)[0].image_size
        processor = kind(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    opened = [open_rgb(image, name_of(image, i)) for i, image in enumerate(images)]
    return processor(opened, return_tensors="pt")["pixel_values"]  # type: ignore[no-any-return]


def _tapped(spec: ModelSpec) -> list[Tapped]:
    vision, _ = vision_parts(spec)
    taps = [
        Tapped("embeddings", "vision.embeddings.class"),
        Tapped("pre_norm", "vision.pre_norm.weight"),
        *block_taps("vision", vision),
        Tapped("pooled", "vision.post_norm.weight"),
    ]
    if vision.projection_dim:
        taps.append(Tapped("embedding", "vision.projection.weight"))
    return taps
