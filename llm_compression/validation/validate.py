"""validate: a model against its reference, tap by tap, both towers where it has both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llm_compression.conversion.families import FAMILY_OF
from llm_compression.conversion.hub import resolve
from llm_compression.conversion.sentence_transformers import read_modules
from llm_compression.conversion.source import read_json_object
from llm_compression.errors import ParityError
from llm_compression.inference.compute import Compute
from llm_compression.metrics.similarity import unit_rows
from llm_compression.multimodal.audio.encoder import AudioEncoder
from llm_compression.multimodal.pretrained import Device
from llm_compression.multimodal.text.encoder import TextEncoder
from llm_compression.multimodal.vision.encoder import VisionEncoder
from llm_compression.spec.model import ModelSpec
from llm_compression.spec.names import TOWERS
from llm_compression.spec.tensors import LOGIT_SCALE
from llm_compression.validation.audio_reference import run_sounds
from llm_compression.validation.compare import TapComparison, compare_tap
from llm_compression.validation.reference import load_model
from llm_compression.validation.report import ValidationReport
from llm_compression.validation.samples import SAMPLE_TEXTS, sample_images, sample_sounds
from llm_compression.validation.text_reference import TextReference, run_texts
from llm_compression.validation.tolerance import Tolerance, logits_tolerance, tolerance_of
from llm_compression.validation.vision_reference import run_images
from llm_compression.weights.loader import WeightLoader

Taps = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Run:
    """What is compared with what."""

    loader: WeightLoader
    model: Any
    checkpoint: Path
    computed: Mapping[str, Any]  # how ours computes: options of every encoder
    bounds: Tolerance


def validate(
    model: str | Path,
    reference: str | Path,
    *,
    texts: Sequence[str] = SAMPLE_TEXTS,
    images: Sequence[object] | None = None,
    sounds: Sequence[object] | None = None,
    tower: str | None = None,
    compute_dtype: str = "float32",
    device: Device = "cpu",
    tolerance: Tolerance | None = None,
) -> ValidationReport:
    """Compare every tap of a weight table with transformers on the checkpoint it came from.

    ``texts``, ``images`` and ``sounds`` (by default a varied sample of each) go through the towers
    that the model has, or through ``tower`` alone, ``text``, ``vision`` or ``audio``. On another
    ``device`` the reference stays on the CPU.

    Raises:
        MissingDependencyError: transformers is not installed.
        ParityError: the reference cannot be loaded or is another architecture, or the model has
            not the tower.
        InputError: a device that is not here, or that does not compute in this type.
    """
    folder = resolve(reference).folder
    checkpoint = folder / read_modules(folder).transformer
    if not texts or [] in (images, sounds):
        raise ParityError("validation needs at least one text, image or sound")
    loader = WeightLoader(model)
    spec = loader.spec
    check_family(checkpoint, spec)
    towers = [name for name in TOWERS if getattr(spec, name) and tower in (None, name)]
    if not towers:
        raise ParityError(f"{model} has no {tower} tower")
    bounds = tolerance or tolerance_of(spec.family, compute_dtype)
    reference_model = load_model(checkpoint, spec, loader.table.manifest.tensors)
    computed = {"compute_dtype": compute_dtype, "device": device}
    run = _Run(loader, reference_model, checkpoint, computed, bounds)
    sides: dict[str, tuple[Taps, Taps]] = {}
    noise: Mapping[str, float] = {}
    tokens, agree = 0, True
    if "text" in towers:
        sides["text"], tokens, agree = _texts(run, texts)
    if "vision" in towers:
        images = sample_images() if images is None else images
        sides["vision"] = _images(run, images)
    if "audio" in towers:
        sides["audio"], noise = _sounds(run, sounds)
    taps = []
    for name, side in sides.items():
        taps += _compare(run, f"{name}." if len(towers) > 1 else "", side, noise)
    answers = True
    if {"text", "vision"} <= set(sides) and agree:
        logits, answers = _logits(run, sides)
        taps.append(logits)
    return ValidationReport(
        model=str(model),
        fingerprint=loader.fingerprint,
        reference=str(reference),
        compute_dtype=compute_dtype,
        texts=len(texts) if "text" in towers else 0,
        tokens=tokens,
        images=len(images or ()) if "vision" in towers else 0,
        sounds=len(sides["audio"][0]["embedding"]) if "audio" in towers else 0,
        same_tokens=agree,
        same_answers=answers,
        tolerance=bounds,
        taps=tuple(taps),
    )


def check_family(checkpoint: Path, spec: ModelSpec) -> None:
    """Refuse a checkpoint of another family than the model's.

    Raises:
        ParityError: it is of another, or of none.
    """
    kind = read_json_object(checkpoint / "config.json").get("model_type")
    if FAMILY_OF.get(str(kind)) is not spec.family:
        raise ParityError(
            f"{checkpoint} holds a model of {kind}, which none of {spec.family.value} came from; "
            "give the checkpoint that was converted"
        )


def _texts(run: _Run, texts: Sequence[str]) -> tuple[tuple[Taps, Taps], int, bool]:
    """Our taps and the reference's, one row for each real token; tokens; whether ids agree."""
    ours = TextEncoder(run.loader, **run.computed, truncation="ok")
    tensors = run.loader.table.manifest.tensors
    expected = run_texts(run.model, run.checkpoint, ours.spec, tensors, texts)
    tokens = int(expected.mask.sum())
    if ours.token_ids(texts) != _ids(expected):
        return ({}, {}), tokens, False  # other tokens have other states: nothing to compare
    real = expected.mask
    mine = {name: _rows(tap, real) for name, tap in ours.taps(texts).items()}
    return (mine, {n: _rows(tap, real) for n, tap in expected.taps.items()}), tokens, True


def _images(run: _Run, images: Sequence[object]) -> tuple[Taps, Taps]:
    """Our taps and the reference's, one row for each picture, patch or token."""
    ours = VisionEncoder(run.loader, **run.computed)
    tensors = run.loader.table.manifest.tensors
    expected = run_images(run.model, run.checkpoint, ours.spec, tensors, images)
    mine = ours.taps(list(images))
    return _flat(mine), _flat(expected)


def _sounds(
    run: _Run, sounds: Sequence[object] | None
) -> tuple[tuple[Taps, Taps], Mapping[str, float]]:
    """Our taps and the reference's, one row for each frame's bin, position or sound; its noise."""
    ours = AudioEncoder(run.loader, **run.computed)
    rate = ours.processor.spec.sampling_rate
    given = sample_sounds(sampling_rate=rate) if sounds is None else sounds
    tensors = run.loader.table.manifest.tensors
    dtype = Compute(ours.compute_dtype).dtype
    expected, noise = run_sounds(run.model, ours.spec, tensors, given, rate, dtype=dtype)
    return (_flat(ours.taps(list(given), sampling_rate=rate)), _flat(expected)), noise


def _flat(taps: Taps) -> Taps:
    """Whatever the axes, one row for each vector of the last one."""
    return {name: tap.reshape(-1, tap.shape[-1]) for name, tap in taps.items()}


def _ids(expected: TextReference) -> list[list[int]]:
    return [row[real].tolist() for row, real in zip(expected.ids, expected.mask, strict=True)]


def _rows(tap: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(B, T, D) -> one row for each real token; (B, E) stays."""
    return tap[real] if tap.ndim == 3 and tap.shape[:2] == real.shape else tap


def _compare(
    run: _Run, prefix: str, side: tuple[Taps, Taps], noise: Mapping[str, float]
) -> list[TapComparison]:
    ours, expected = side
    if set(ours) != set(expected):
        raise ParityError(f"taps differ: {sorted(set(ours) ^ set(expected))}")
    return [
        compare_tap(prefix + name, tap, expected[name], run.bounds.of(name), noise.get(name))
        for name, tap in ours.items()
    ]


def _logits(run: _Run, sides: Mapping[str, tuple[Taps, Taps]]) -> tuple[TapComparison, bool]:
    """Images against texts as CLIP scores them, and whether each image finds the same text."""
    ours, expected = (
        unit_rows(sides["vision"][i]["embedding"]) @ unit_rows(sides["text"][i]["embedding"]).T
        for i in (0, 1)
    )
    scale = run.loader.get_tensor(LOGIT_SCALE).float().exp().numpy()
    reference = run.model.logit_scale.exp().detach().numpy()
    bounds = logits_tolerance(run.computed["compute_dtype"])
    compared = compare_tap("logits", ours * scale, expected * reference, bounds)
    return compared, bool((ours.argmax(1) == expected.argmax(1)).all())
