"""CLIPEngine: texts and images in one space, compared, ranked and classified."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from llm_compression.engine.zero_shot import (
    TEMPLATE,
    ClassEmbeddings,
    Match,
    check_classes,
    check_templates,
)
from llm_compression.errors import InputError
from llm_compression.metrics.similarity import unit_rows
from llm_compression.multimodal.inputs import as_texts, check_count, check_flags
from llm_compression.multimodal.pretrained import Device, ModelPath, Pretrained
from llm_compression.multimodal.text.encoder import TextEncoder
from llm_compression.multimodal.vision.encoder import VisionEncoder
from llm_compression.spec.tensors import LOGIT_SCALE


class CLIPEngine(Pretrained):
    """An open CLIP model: both towers, both projections and the temperature.

    Texts, or images, may be given as such or as embeddings made before: an array of numbers with
    one axis (E,) or two (n, E). So a grey picture as an array goes into a list. What else an
    image can be, `VisionEncoder` says.

    Args:
        model_path: a weight table, a folder with ``model.parquet``, or an open `WeightLoader`.
        compute_dtype: what the core computes in: ``float32``, ``bfloat16``, ``float16`` (GPUs) or
            ``int8`` (the CPU).
        mapped: open the memory-mapped copy, made on first use; otherwise decode the Parquet file.
        verify: check every weight against its checksum, decoded or mapped.
        packed: on first use copy the weights into the order in which this processor reads them,
            and let the mapped ones go; otherwise compute on those in place, which is slower.
        device: ``cpu``, or a GPU as ``cuda`` or ``cuda:N``, where ``packed`` has no meaning.
        truncation: ``warn``, ``error`` or ``ok``, for texts beyond the model's maximum.

    Raises:
        WeightTableError: a kind that says what is wrong with the file.
        InputError: the model lacks one of the towers, or an option cannot be.
    """

    def __init__(
        self,
        model_path: ModelPath,
        *,
        compute_dtype: str = "float32",
        mapped: bool = True,
        verify: bool = True,
        packed: bool = True,
        device: Device = "cpu",
        truncation: str = "warn",
    ) -> None:
        super().__init__(
            model_path,
            mapped=mapped,
            verify=verify,
            packed=packed,
            compute_dtype=compute_dtype,
            device=device,
            truncation=truncation,
        )
        shared: dict[str, Any] = {
            "compute_dtype": compute_dtype, "packed": packed, "device": device,
        }  # fmt: skip
        self.text = TextEncoder(self._loader, **shared, truncation=truncation)
        self.vision = VisionEncoder(self._loader, **shared)
        self.logit_scale = float(self._loader.get_tensor(LOGIT_SCALE).float().exp())

    def get_embedding_dimension(self) -> int:
        """Width E of the shared space."""
        return self.spec.dimension

    def encode_text(
        self,
        texts: str | Sequence[str],
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = True,
    ) -> np.ndarray:
        """Projected text embeddings of unit length: (n, E), or (E,) for one string.

        Raises:
            InputError: an input that is no text.
            TruncationError: a text is too long and truncation is ``error``.
        """
        return self.text.encode(
            texts,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            normalize_embeddings=normalize_embeddings,
        )

    def encode_image(
        self,
        images: object,
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = True,
    ) -> np.ndarray:
        """Projected image embeddings of unit length: (n, E), or (E,) for one picture.

        ``self.vision.encode`` can skip pictures that are broken.

        Raises:
            InputError: an input that is no picture; the message names it.
        """
        return self.vision.encode(
            images,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            normalize_embeddings=normalize_embeddings,
        )

    def compute_similarity(
        self, texts: object, images: object, *, apply_temperature: bool = False
    ) -> np.ndarray:
        """(n texts, m images) cosines, or logits with ``apply_temperature``.

        The logits are transformers' ``logits_per_text``: cosines times ``exp(logit_scale)``.

        Raises:
            InputError: an input that cannot be embedded, or a flag that is none.
        """
        check_flags(apply_temperature=apply_temperature)
        cosines: np.ndarray = self._texts(texts) @ self._images(images).T
        return cosines * np.float32(self.logit_scale) if apply_temperature else cosines

    def find_best_matches(self, texts: object, images: object, top_k: int = 5) -> list[list[Match]]:
        """For each text the ``top_k`` images most like it, best first."""
        return _best(self.compute_similarity(texts, images), top_k)

    def find_best_text_matches(
        self, images: object, texts: object, top_k: int = 5
    ) -> list[list[Match]]:
        """For each image the ``top_k`` texts most like it, best first."""
        return _best(self.compute_similarity(texts, images).T, top_k)

    def class_embeddings(
        self, class_texts: Sequence[str], *, templates: str | Sequence[str] = TEMPLATE
    ) -> ClassEmbeddings:
        """One embedding for each class, to be kept and used again.

        Each template's ``{}`` becomes the class; with several the unit embeddings are averaged
        and scaled to unit length again (Radford et al. 2021, arXiv:2103.00020, section 3.1.4).

        Raises:
            InputError: no classes, a class named twice, or a template without ``{}``.
        """
        names, forms = check_classes(class_texts), check_templates(templates)
        self._refuse_same(names)
        vectors = self.encode_text([form.replace("{}", name) for name in names for form in forms])
        means = vectors.reshape(len(names), len(forms), -1).mean(axis=1)
        return ClassEmbeddings(names, unit_rows(means), self.fingerprint)

    def _refuse_same(self, names: tuple[str, ...]) -> None:
        seen: dict[tuple[int, ...], str] = {}
        for name, ids in zip(names, self.text.token_ids(names), strict=True):
            other = seen.setdefault(tuple(ids), name)
            if other != name:
                raise InputError(
                    f"classes {other!r} and {name!r} are the same to the model, which reads them "
                    "as the same tokens; name each class once"
                )

    def zero_shot_classification(
        self,
        images: object,
        class_texts: Sequence[str] | ClassEmbeddings,
        *,
        templates: str | Sequence[str] | None = None,
        return_probabilities: bool = True,
    ) -> np.ndarray:
        """(m images, n classes): probabilities of the classes, or logits.

        ``class_texts`` are names, or what `class_embeddings` gave; ``templates`` are for names, by
        default "a photo of a {}."

        Raises:
            InputError: classes or pictures that cannot be, or classes of another model.
        """
        check_flags(return_probabilities=return_probabilities)
        if not isinstance(class_texts, ClassEmbeddings):
            forms = TEMPLATE if templates is None else templates
            class_texts = self.class_embeddings(class_texts, templates=forms)
        elif templates is not None:
            raise InputError("templates are for names; these class embeddings are made already")
        if class_texts.model != self.fingerprint:
            raise InputError(
                f"the class embeddings are of model {class_texts.model[:12]}, this is "
                f"{self.fingerprint[:12]}; make them again with this model"
            )
        logits = self.compute_similarity(class_texts.embeddings, images, apply_temperature=True).T
        return _softmax(logits) if return_probabilities else logits

    def _texts(self, texts: object) -> np.ndarray:
        if hasattr(texts, "__array__") and _numbers(texts).dtype.kind == "f":
            return self._checked(texts)
        return self.encode_text(as_texts(texts))

    def _images(self, images: object) -> np.ndarray:
        if hasattr(images, "ndim") and getattr(images, "ndim", 0) <= 2:
            return self._checked(_no_picture(images))
        found = self.encode_image(images)
        return found.reshape(-1, found.shape[-1])

    def _checked(self, embeddings: object) -> np.ndarray:
        """Embeddings given as an array, (n, E) of unit length."""
        given, width = np.atleast_2d(_numbers(embeddings)), self.get_embedding_dimension()
        if given.dtype.kind != "f" or given.shape[1] != width:
            raise InputError(
                f"embeddings of width {given.shape[1]} are not this model's, which are {width} "
                f"wide, but {given.dtype} {given.shape}; put a picture that is an array into a list"
            )
        if not np.isfinite(given).all():
            raise InputError("the embeddings hold NaN or infinite values; make them again")
        return unit_rows(given.astype(np.float32))


def _no_picture(embeddings: Any) -> np.ndarray:
    given = _numbers(embeddings)
    if given.size and given.min() >= 0:
        raise InputError(
            "an array of two axes is taken for embeddings, but without a negative value it looks "
            "like a grey picture; put a picture that is an array into a list"
        )
    return given


def _numbers(given: Any) -> np.ndarray:
    """An array of numpy or torch as one of numpy."""
    if hasattr(given, "detach"):
        given = given.detach().cpu().float()
    return np.asarray(given)


def _best(scores: np.ndarray, top_k: int) -> list[list[Match]]:
    check_count(top_k, "top_k")
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return [
        [Match(int(i), float(row[i])) for i in places]
        for row, places in zip(scores, order, strict=True)
    ]


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities
