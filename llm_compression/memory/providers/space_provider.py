"""SpaceProvider: the contract, and embeddings of every modality, over models opened on demand."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from llm_compression.errors import InputError
from llm_compression.inference.device import device_of
from llm_compression.memory.cache.cache import EmbeddingCache
from llm_compression.memory.cache.cached import through_cache
from llm_compression.memory.cache.content import image_digest, sound_digest, text_digest
from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.modalities import KINDS, check_modality
from llm_compression.memory.providers.provider import EmbeddingProvider
from llm_compression.memory.providers.spaces import Model, Space, no_model
from llm_compression.multimodal.inputs import as_texts, check_count, check_flags


class SpaceProvider(EmbeddingProvider):
    """A provider whose vectors come from one model for each modality.

    Args:
        models: the model of each modality that there is.
        normalize_embeddings: whether vectors have unit length where a call does not say.
        cache: where vectors are kept and looked for first.
        device: that the models are opened on, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        InputError: a device that is not here, a cache or a flag that is none.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        *,
        normalize_embeddings: bool,
        cache: EmbeddingCache | None,
        device: object,
    ) -> None:
        check_flags(normalize_embeddings=normalize_embeddings)
        self.device = str(device)
        if self.device != "cpu":  # for which alone torch is not asked
            device_of(device)
        if cache is not None and not isinstance(cache, EmbeddingCache):
            raise InputError(f"cache is {cache!r}; pass an EmbeddingCache, which takes a path")
        self.normalize_embeddings = normalize_embeddings
        self.cache = cache
        self._models = dict(models)

    @property
    def dimension(self) -> int:
        """Width d of a text's embedding, from the model's file.

        Raises:
            ModalityUnavailableError: there is no text model.
        """
        return self._model("text").dimension

    def encode(self, text: str, normalize: bool | None = None) -> np.ndarray:  # noqa: FBT001
        """One text as it is stored -> (d,) float32; a blank one has the zero vector.

        ``normalize`` None does as the provider was told, which is unit length unless it was told
        otherwise. The model's prompt of documents, if it has one, is put in front;
        ``embed("text", "text", [text], query=True)`` puts that of queries.

        Raises:
            InputError: it is no string.
            ModalityUnavailableError: there is no text model.
        """
        if not isinstance(text, str):
            raise InputError(f"text is {type(text).__name__}; pass a string, or use encode_batch")
        found: np.ndarray = self.encode_batch([text], normalize=normalize)[0]
        return found

    def encode_batch(
        self,
        texts: Sequence[str],
        batch_size: int = 32,
        normalize: bool | None = None,  # noqa: FBT001
        show_progress: bool = False,  # noqa: FBT001, FBT002
    ) -> np.ndarray:
        """Texts -> (n, d) float32, each as by `encode`; (0, d) for none.

        Raises:
            InputError: one of them is no string.
            ModalityUnavailableError: there is no text model.
        """
        if isinstance(texts, str):
            raise InputError("texts is a string; pass a list of strings, or use encode")
        given = _texts(texts)
        check_count(batch_size, "batch_size")
        normalize = self._unit_length(normalize)
        said = [place for place, text in enumerate(given) if text.strip()]
        if not said:
            return np.zeros((len(given), self.dimension), np.float32)
        vectors = self._embed(
            "text", "text", [given[i] for i in said], query=False, normalize=normalize,
            batch_size=batch_size, show_progress=show_progress,
        )  # fmt: skip
        found = np.zeros((len(given), vectors.shape[1]), np.float32)
        found[said] = vectors
        return found

    def identity(self, modality: str) -> VectorIdentity:
        """How vectors of a modality are made; it opens the model and embeds nothing.

        Raises:
            InputError: no such modality.
            ModalityUnavailableError: there is no model for it.
        """
        return self._space(modality).identity(normalized=self.normalize_embeddings)

    def embed(
        self,
        modality: str,
        kind: str,
        inputs: Sequence[object],
        *,
        query: bool = False,
        batch_size: int | None = None,
        show_progress: bool | None = None,
    ) -> np.ndarray:
        """Inputs -> (n, d) float32, made as `identity` of the modality says.

        Args:
            modality: ``text``, ``vision``, ``audio`` or ``clip``.
            kind: ``text``, ``image`` or ``audio``: the modality's own, of ``clip`` text or image.
            inputs: a sequence; an array of samples as a mapping with ``array`` and
                ``sampling_rate``.
            query: texts are searched for, so the model's prompt of queries stands in front.
            batch_size: inputs run together, by default 32, or 4 windows of sounds.
            show_progress: None shows a bar for long work on a terminal.

        Raises:
            InputError: an input that cannot be embedded, a blank text among them, by its index.
            ModalityUnavailableError: there is no model for the modality.
        """
        if kind not in KINDS.get(modality, ()):
            pairs = ", ".join(f"{name}/{one}" for name, kinds in KINDS.items() for one in kinds)
            raise InputError(f"no {modality!r} vectors of {kind!r}; there are {pairs}")
        self._model(modality)
        given = _CHECKS[kind](inputs)
        return self._embed(
            modality, kind, given, query=query, normalize=None, batch_size=batch_size,
            show_progress=show_progress,
        )  # fmt: skip

    def _embed(
        self,
        modality: str,
        kind: str,
        inputs: list[Any],
        *,
        query: bool,
        normalize: bool | None,
        batch_size: int | None,
        show_progress: bool | None,
    ) -> np.ndarray:
        if batch_size is not None:
            check_count(batch_size, "batch_size")
        check_flags(query=query)
        space = self._space(modality)
        prompt = space.prompt(query=query)
        normalized = self._unit_length(normalize)
        make = partial(
            space.encode, kind, prompt=prompt, normalized=normalized, batch_size=batch_size,
            show_progress=show_progress,
        )  # fmt: skip
        if self.cache is None:
            return make(inputs)
        identity = space.identity(normalized=normalized)
        return through_cache(self.cache, identity, inputs, _digest(kind, prompt), make)

    def _unit_length(self, normalize: bool | None) -> bool:  # noqa: FBT001
        """Whether vectors get it, where a call says ``normalize``."""
        if normalize is None:
            return self.normalize_embeddings
        check_flags(normalize=normalize)
        return bool(normalize)

    def _model(self, modality: str) -> Model:
        check_modality(modality)
        if modality not in self._models:
            raise no_model(modality)
        return self._models[modality]

    def _space(self, modality: str) -> Space:
        return self._model(modality).space()


def _digest(kind: str, prompt: str) -> Callable[[Any], bytes | None]:
    if kind == "text":
        return partial(text_digest, prompt=prompt)
    return image_digest if kind == "image" else sound_digest


def _texts(inputs: object) -> list[str]:
    texts = as_texts(inputs)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {place} is {type(text).__name__}, not a string")
    return texts


def _stored_texts(inputs: object) -> list[str]:
    """Texts of which each says something.

    Raises:
        InputError: one is no string, or blank.
    """
    if isinstance(inputs, str):
        raise InputError("inputs is a string; pass a sequence of strings")
    texts = _texts(inputs)
    for place, text in enumerate(texts):
        if not text.strip():
            raise InputError(f"text {place} is blank, so it has no direction; leave it out")
    return texts


def _images(inputs: object) -> list[object]:
    from llm_compression.multimodal.vision.input import as_images

    images, single = as_images(inputs)
    if single:
        raise InputError("inputs is a single image; pass a sequence of images")
    return images


def _sounds(inputs: object) -> list[object]:
    from llm_compression.multimodal.audio.input import as_sounds

    sounds, single = as_sounds(inputs)
    if single:
        raise InputError("inputs is a single sound; pass a sequence of sounds")
    return sounds


_CHECKS: dict[str, Callable[[object], list[Any]]] = {
    "text": _stored_texts,
    "image": _images,
    "audio": _sounds,
}
