"""The preprocessing of a checkpoint as an `ImageSpec` or a `SoundSpec`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_compression.conversion.config import Config
from llm_compression.conversion.source import read_json_object
from llm_compression.errors import CheckpointError, UnknownArchitectureError
from llm_compression.spec.image import ImageSpec, Resample
from llm_compression.spec.sound import SoundSpec

PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"  # transformers 5 puts all of a processor into one file

# What transformers takes where the file says nothing: image_processing_pil_clip.py.
_DEFAULTS: dict[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "do_convert_rgb": True,
}
_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # PIL's numbers
_EXTRACTOR = "WhisperFeatureExtractor"
# feature_extraction_whisper.py
_SOUND_DEFAULTS = {"sampling_rate": 16000, "n_fft": 400, "hop_length": 160, "chunk_length": 30}
_PLAIN_SOUND = {"do_normalize": False, "dither": 0.0, "padding_value": 0.0, "padding_side": "right"}
_PROCESSORS = ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPFeatureExtractor")


def read_preprocessing(folder: Path, image_size: int) -> tuple[ImageSpec, bool]:
    """The preprocessing, and whether a file states it; else CLIP's own at ``image_size``.

    Raises:
        UnknownArchitectureError: a processor other than CLIP's.
        CheckpointError: a value that cannot be.
    """
    found = _stated(folder, "image_processor")
    if found is None:
        own = {"size": {"shortest_edge": image_size}, "crop_size": image_size}
        return _image_spec({**_DEFAULTS, **own}, folder / PREPROCESSOR), False
    stated, path = found
    kind = stated.get("image_processor_type") or stated.get("feature_extractor_type")
    if kind is not None and kind not in _PROCESSORS:
        raise UnknownArchitectureError(
            f"{path}: image_processor_type {kind!r} is not supported, only {_PROCESSORS[0]}"
        )
    given = {key: value for key, value in stated.items() if value is not None}
    return _image_spec({**_DEFAULTS, **given}, path), True


def read_sound(folder: Path, mels: int) -> tuple[SoundSpec, bool]:
    """The log-mel front end, and whether a file states it; else Whisper's own.

    Raises:
        UnknownArchitectureError: an extractor other than Whisper's.
        CheckpointError: a value that cannot be, or another number of mel bins than the model's.
    """
    stated, path = _stated(folder, "feature_extractor") or ({}, folder / PREPROCESSOR)
    kind = stated.get("feature_extractor_type") or _EXTRACTOR
    if kind != _EXTRACTOR:
        raise UnknownArchitectureError(f"{path}: only {_EXTRACTOR} is supported, not {kind}")
    for key, plain in _PLAIN_SOUND.items():
        if stated.get(key, plain) != plain:
            raise UnknownArchitectureError(
                f"{path}: only {_EXTRACTOR} with {key} {plain!r} is supported, not {stated[key]!r}"
            )
    if stated.get("feature_size", mels) != mels:
        raise CheckpointError(
            f"{path}: feature_size is {stated['feature_size']}, config.json says num_mel_bins = "
            f"{mels}; take both from one checkpoint"
        )
    config = Config(stated, str(path), defaults=_SOUND_DEFAULTS)
    return SoundSpec(**{key: config.count(key) for key in _SOUND_DEFAULTS}), bool(stated)


def _stated(folder: Path, part_name: str) -> tuple[dict[str, Any], Path] | None:
    if (folder / PROCESSOR).is_file():
        part = read_json_object(folder / PROCESSOR).get(part_name)
        if isinstance(part, dict):
            return part, folder / PROCESSOR
    if (folder / PREPROCESSOR).is_file():
        return read_json_object(folder / PREPROCESSOR), folder / PREPROCESSOR
    return None


def _image_spec(values: Mapping[str, Any], path: Path) -> ImageSpec:
    try:
        shortest, size = _size(values["size"]) if values["do_resize"] else (None, None)
        channels = len(values["image_mean"])
        normalize = values["do_normalize"]
        return ImageSpec(
            shortest_edge=shortest,
            size=size,
            resample=Resample(dict(enumerate(_RESAMPLE))[values["resample"]]),
            crop=_crop(values["crop_size"]) if values["do_center_crop"] else None,
            scale=float(values["rescale_factor"]) if values["do_rescale"] else 1.0,
            mean=tuple(map(float, values["image_mean"] if normalize else [0] * channels)),
            std=tuple(map(float, values["image_std"] if normalize else [1] * channels)),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{path} does not describe a preprocessing: {error!r}") from error


def _size(size: Any) -> tuple[int | None, tuple[int, int] | None]:
    if isinstance(size, int):
        return size, None
    if "shortest_edge" in size:
        if set(size) != {"shortest_edge"}:
            raise ValueError(f"size {size} is not supported")
        return int(size["shortest_edge"]), None
    return None, (int(size["height"]), int(size["width"]))


def _crop(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size["height"]), int(size["width"]))
