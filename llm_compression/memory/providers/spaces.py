"""Spaces: one modality's model, found and opened on first use, and what it makes of inputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm_compression.errors import ModalityUnavailableError
from llm_compression.files.paths import user_path
from llm_compression.memory.identities import (
    clip_identity,
    image_identity,
    sound_identity,
    text_identity,
)
from llm_compression.memory.identity import VectorIdentity
from llm_compression.once import Once

if TYPE_CHECKING:
    from llm_compression.engine.prompts import Prompts
    from llm_compression.spec.model import ModelSpec

_EXAMPLES = {
    "text": "sentence-transformers/all-MiniLM-L6-v2",
    "vision": "openai/clip-vit-base-patch32",
    "audio": "openai/whisper-base",
    "clip": "openai/clip-vit-base-patch32",
}


@dataclass(frozen=True)
class Space:
    """An open engine or encoder, and how it embeds each kind of input into one space."""

    encoder: Any
    identity: Callable[..., VectorIdentity]  # of keyword ``normalized``
    encoders: Mapping[str, Callable[..., np.ndarray]]
    batch_size: int = 32
    prompts: "Prompts | None" = None

    def prompt(self, *, query: bool) -> str:
        """What is put in front of a text that is searched for, or of one that is stored."""
        if self.prompts is None:
            return ""
        return self.prompts.query if query else self.prompts.document

    def encode(
        self,
        kind: str,
        inputs: list[Any],
        *,
        prompt: str,
        normalized: bool,
        batch_size: int | None,
        show_progress: bool | None,
    ) -> np.ndarray:
        """Inputs -> (n, d) float32; as the ``encode`` of the encoder."""
        options = {} if self.prompts is None else {"prompt": prompt}
        return self.encoders[kind](
            inputs,
            batch_size=self.batch_size if batch_size is None else batch_size,
            show_progress_bar=show_progress,
            normalize_embeddings=normalized,
            **options,
        )


class Model:
    """The model of a modality: ``path`` is a weight table, a folder or a hub id.

    ``options`` are those of the engine or encoder that opens it.
    """

    def __init__(self, modality: str, path: str | Path, **options: Any) -> None:
        self._modality = modality
        self._file = Once(partial(_locate, path))
        self._spec = Once(lambda: _spec(self._file()))
        self.space = Once(lambda: _OPENERS[modality](self._file(), **options))

    @property
    def dimension(self) -> int:
        """Width of its embeddings; of a model that is not open from the file, without its weights.

        Raises:
            InputError: the model has no tower for this modality.
        """
        from llm_compression.multimodal.inputs import no_tower

        if space := self.space.made:
            return space.identity(normalized=True).dimension
        spec = self._spec()
        names = ("text", "vision") if self._modality == "clip" else (self._modality,)
        for name in names:
            if getattr(spec, name) is None:
                raise no_tower(spec, name)
        return int(getattr(spec, names[0]).dimension)


def no_model(modality: str) -> ModalityUnavailableError:
    """The error that no model was given for a modality: how to give one."""
    return ModalityUnavailableError(
        f"there is no {modality} model here; give MultimodalEmbeddingProvider "
        f"{modality}_model_path=, a weight table, a checkpoint folder or a hub id such as "
        f"{_EXAMPLES[modality]}"
    )


def settled(path: str | Path) -> str | Path:
    """The same file wherever the process goes; what is no file here is a hub id, and stays."""
    found = user_path(path)
    return found.absolute() if found.exists() else path


def _locate(path: str | Path) -> Path:
    from llm_compression.multimodal.open import locate

    return locate(path)


def _spec(file: Path) -> "ModelSpec":
    from llm_compression.weights.reader import WeightTable

    return WeightTable(file).manifest.spec


def _open_text(file: Path, **options: Any) -> Space:
    from llm_compression.engine.arrow_engine import ArrowEngine

    engine = ArrowEngine(file, **options)
    prompts = engine.prompt_texts
    return Space(engine, partial(text_identity, engine), {"text": engine.encode}, prompts=prompts)


def _open_vision(file: Path, **options: Any) -> Space:
    from llm_compression.multimodal.vision.encoder import VisionEncoder

    encoder = VisionEncoder(file, **options)
    return Space(encoder, partial(image_identity, encoder), {"image": encoder.encode})


def _open_audio(file: Path, **options: Any) -> Space:
    from llm_compression.multimodal.audio.encoder import AudioEncoder

    encoder = AudioEncoder(file, **options)
    identity = partial(sound_identity, encoder)
    return Space(encoder, identity, {"audio": encoder.encode}, batch_size=4)


def _open_clip(file: Path, **options: Any) -> Space:
    from llm_compression.engine.clip_engine import CLIPEngine

    engine = CLIPEngine(file, **options)
    encoders = {"text": engine.encode_text, "image": engine.encode_image}
    return Space(engine, partial(clip_identity, engine), encoders)


_OPENERS: dict[str, Callable[..., Space]] = {
    "text": _open_text,
    "vision": _open_vision,
    "audio": _open_audio,
    "clip": _open_clip,
}
