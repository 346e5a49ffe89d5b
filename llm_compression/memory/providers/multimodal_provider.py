"""MultimodalEmbeddingProvider: texts, images and sounds to vectors, each model opened on demand."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm_compression.errors import InputError
from llm_compression.inference.device import check_compute_dtype
from llm_compression.memory.cache.cache import EmbeddingCache
from llm_compression.memory.modalities import KINDS
from llm_compression.memory.providers.space_provider import SpaceProvider
from llm_compression.memory.providers.spaces import Model, settled
from llm_compression.multimodal.inputs import as_texts, check_choice
from llm_compression.spec.names import AUDIO_MODES

if TYPE_CHECKING:
    from llm_compression.engine.clip_engine import CLIPEngine
    from llm_compression.engine.zero_shot import ClassEmbeddings, Match
    from llm_compression.multimodal.pretrained import Device


class MultimodalEmbeddingProvider(SpaceProvider):
    """Embeddings of texts, images and sounds by up to four models, none opened before it is used.

    ``text``, ``vision`` and ``audio`` are spaces of their own; ``clip`` is one of texts and of
    images together, in which these are compared with each other. One CLIP file can be the vision
    model and the CLIP model.

    Args:
        text_model_path: a weight table, a folder with one or with a checkpoint, or a hub id.
        vision_model_path: the same of a model with a vision tower.
        audio_model_path: the same of a model with an audio tower.
        clip_model_path: the same of a CLIP model.
        device: where all models compute, as of `TextEncoder`.
        normalize_embeddings: whether vectors have unit length where a call does not say.
        compute_dtype: what all models compute in, ``float32``, ``bfloat16``, ``float16`` (GPUs) or
            ``int8`` (the CPU).
        audio_mode: ``exact`` or ``fast``, as of `AudioEncoder`.
        audio_window: seconds of one window of a long sound, by default those of the model.
        audio_overlap: seconds that one window shares with the next.
        cache: where vectors are kept and looked for first.

    Raises:
        InputError: a device that is not here, or an option that cannot be.
    """

    def __init__(  # noqa: PLR0917  the contract's order
        self,
        text_model_path: str | Path | None = None,
        vision_model_path: str | Path | None = None,
        audio_model_path: str | Path | None = None,
        clip_model_path: str | Path | None = None,
        device: "Device" = "cpu",
        normalize_embeddings: bool = True,  # noqa: FBT001, FBT002  the contract's
        *,
        compute_dtype: str = "float32",
        audio_mode: str = "exact",
        audio_window: float | None = None,
        audio_overlap: float = 0.0,
        cache: EmbeddingCache | None = None,
    ) -> None:
        check_compute_dtype(compute_dtype, str(device))
        check_choice(audio_mode, "audio_mode", AUDIO_MODES)
        given = (text_model_path, vision_model_path, audio_model_path, clip_model_path)
        text, vision, audio, clip = (None if path is None else settled(path) for path in given)
        heard = {"mode": audio_mode, "window": audio_window, "overlap": audio_overlap}
        options: dict[str, dict[str, Any]] = {"audio": heard}
        computed: dict[str, Any] = {"compute_dtype": compute_dtype, "device": device}
        models = {
            modality: Model(modality, path, **computed, **options.get(modality, {}))
            for modality, path in zip(KINDS, (text, vision, audio, clip), strict=True)
            if path is not None
        }
        super().__init__(
            models, normalize_embeddings=normalize_embeddings, cache=cache, device=device
        )
        self._reopen = partial(
            type(self), text, vision, audio, clip, device, normalize_embeddings,
            compute_dtype=compute_dtype, audio_mode=audio_mode, audio_window=audio_window,
            audio_overlap=audio_overlap, cache=cache,
        )  # fmt: skip

    @property
    def vision_dimension(self) -> int:
        """Width of an image's embedding, as ``dimension`` that of a text's."""
        return self._model("vision").dimension

    @property
    def audio_dimension(self) -> int:
        """Width of a sound's embedding."""
        return self._model("audio").dimension

    @property
    def clip_dimension(self) -> int:
        """Width of the space that texts and images share."""
        return self._model("clip").dimension

    def get_available_modalities(self) -> list[str]:
        """Which of ``text``, ``vision``, ``audio`` and ``clip`` have a model."""
        return list(self._models)

    def encode_image(
        self,
        images: object,
        batch_size: int = 32,
        normalize: bool | None = None,  # noqa: FBT001
        show_progress: bool = False,  # noqa: FBT001, FBT002
    ) -> np.ndarray:
        """Images by the vision model: (d,) for one, (n, d) for a sequence, float32.

        An image is a path, bytes, a PIL image or an array, as `VisionEncoder` takes it.

        Raises:
            InputError: an input that is no image, by its name.
            ModalityUnavailableError: there is no vision model.
        """
        from llm_compression.multimodal.vision.input import as_images

        self._model("vision")
        given, single = as_images(images)
        found = self._embed(
            "vision", "image", given, query=False, normalize=normalize, batch_size=batch_size,
            show_progress=show_progress,
        )  # fmt: skip
        return found[0] if single else found

    def encode_audio(
        self,
        audio: object,
        sampling_rate: int | None = None,
        batch_size: int = 4,
        normalize: bool | None = None,  # noqa: FBT001
        show_progress: bool = False,  # noqa: FBT001, FBT002
    ) -> np.ndarray:
        """Sounds by the audio model: (d,) for one, (n, d) for a sequence, float32.

        A sound is a path, bytes, or an array of ``sampling_rate``, as `AudioEncoder` takes it.

        Raises:
            InputError: an input that is no sound, by its name.
            ModalityUnavailableError: there is no audio model.
        """
        from llm_compression.multimodal.audio.input import as_sounds

        self._model("audio")
        given, single = as_sounds(audio)
        found = self._embed(
            "audio", "audio", [_with_rate(sound, sampling_rate) for sound in given], query=False,
            normalize=normalize, batch_size=batch_size, show_progress=show_progress,
        )  # fmt: skip
        return found[0] if single else found

    def encode_multimodal(
        self,
        text: str | Sequence[str] | None = None,
        images: object | None = None,
        audio: object | None = None,
    ) -> dict[str, np.ndarray]:
        """What is given, each by its own model, under ``text``, ``vision`` and ``audio``.

        One input gives (d,), a sequence (n, d). The three are of different spaces.

        Raises:
            InputError: nothing is given, or what cannot be embedded.
            ModalityUnavailableError: there is no model for a part; none is embedded then.
        """
        given = {"text": text, "vision": images, "audio": audio}
        found: dict[str, np.ndarray] = {}
        asked = [modality for modality, inputs in given.items() if inputs is not None]
        if not asked:
            raise InputError("nothing to encode; give text, images or audio")
        for modality in asked:
            self._model(modality)
        if text is not None:
            found["text"] = self.encode(text) if isinstance(text, str) else self.encode_batch(text)
        if images is not None:
            found["vision"] = self.encode_image(images)
        if audio is not None:
            found["audio"] = self.encode_audio(audio)
        return found

    def compute_cross_modal_similarity(self, texts: object, images: object) -> np.ndarray:
        """(n texts, m images) cosines in CLIP's space; one of either counts as a row of one.

        Embeddings of that space, (d,) or (n, d), may stand for texts or for images.

        Raises:
            InputError: an input that cannot be embedded.
            ModalityUnavailableError: there is no CLIP model.
        """
        return self._clip.compute_similarity(self._side("text", texts), self._side("image", images))

    def find_best_image_matches(
        self, texts: object, images: object, top_k: int = 5
    ) -> "list[list[Match]]":
        """For each text the ``top_k`` images most like it, best first; raises as the above."""
        sides = self._side("text", texts), self._side("image", images)
        return self._clip.find_best_matches(*sides, top_k)

    def find_best_text_matches(
        self, images: object, texts: object, top_k: int = 5
    ) -> "list[list[Match]]":
        """For each image the ``top_k`` texts most like it, best first; raises as the above."""
        sides = self._side("image", images), self._side("text", texts)
        return self._clip.find_best_text_matches(*sides, top_k)

    def zero_shot_classification(
        self,
        image: object,
        class_names: "Sequence[str] | ClassEmbeddings",
        *,
        templates: str | Sequence[str] | None = None,
    ) -> np.ndarray:
        """Probabilities of the classes, in their order: (n,) for one image, (m, n) for many.

        ``templates`` are what names stand in, by default "a photo of a {}."

        Raises:
            InputError: no image, or classes that cannot be.
            ModalityUnavailableError: there is no CLIP model.
        """
        from llm_compression.multimodal.vision.input import as_images

        vectors = self._side("image", image)
        single = vectors.ndim == 1 if vectors is image else as_images(image)[1]
        found = self._clip.zero_shot_classification(vectors, class_names, templates=templates)
        return found[0] if single else found

    def __reduce__(self) -> tuple[object, ...]:
        return self._reopen, ()

    @property
    def _clip(self) -> "CLIPEngine":
        engine: CLIPEngine = self._space("clip").encoder
        return engine

    def _side(self, kind: str, inputs: Any) -> np.ndarray:
        """Embeddings in CLIP's space; those that are given the engine checks."""
        from llm_compression.multimodal.vision.input import as_images

        self._model("clip")
        if _are_embeddings(inputs):
            return inputs  # type: ignore[no-any-return]
        given = as_images(inputs)[0] if kind == "image" else as_texts(inputs)
        return self.embed("clip", kind, given)


def _are_embeddings(inputs: Any) -> bool:
    """Whether it is an array of numbers with one axis or two, as `CLIPEngine` has it."""
    kind = getattr(getattr(inputs, "dtype", None), "kind", "f")  # torch has but numbers
    return getattr(inputs, "ndim", 3) <= 2 and kind in "biuf"


def _with_rate(sound: Any, sampling_rate: int | None) -> Any:
    """An array as a mapping that says its rate; anything else says its own."""
    if sampling_rate is None or not hasattr(sound, "__array__"):
        return sound
    return {"array": sound, "sampling_rate": sampling_rate}
