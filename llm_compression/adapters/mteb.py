"""MTEB: `ArrowEncoder`, an EncoderProtocol over a text, a CLIP or a Whisper model."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_compression.adapters.opening import missing
from llm_compression.engine.arrow_engine import ArrowEngine
from llm_compression.engine.output import in_precision
from llm_compression.errors import InputError
from llm_compression.metrics import similarity as scores
from llm_compression.metrics.quantization import check_precision
from llm_compression.multimodal.audio.encoder import AudioEncoder
from llm_compression.multimodal.open import locate
from llm_compression.multimodal.vision.encoder import VisionEncoder
from llm_compression.spec.model import Similarity
from llm_compression.weights.loader import WeightLoader

try:
    from mteb.models.abs_encoder import get_prompt_name
    from mteb.models.model_meta import ModelMeta, ScoringFunction
except ImportError as error:
    raise missing("mteb", "mteb") from error

_KNOWN = {"batch_size", "show_progress_bar", "precision"}


class ArrowEncoder:
    """Every tower of a model, each for the modality that it embeds.

    Texts have the model's prompts, by mteb's order of precedence, and its own normalisation;
    images and sounds come as the towers give them. An item with a text and an image has the sum
    of both embeddings, as mteb's own CLIP models do it.

    Args:
        model_name: a weight table, checkpoint folder or hub id.
        revision: of a hub id.
        device: ``cpu``, or None for it; ``cuda`` or ``cuda:N``.
        name: ``organisation/model`` in mteb's results, by default the id, or made from the path.
        prompts: in the place of the model's; keys are tasks, types of tasks, query or document.
        options: ``cache_dir``, ``local_files_only`` and ``token``, as huggingface_hub has them.

    Raises:
        InputError: a device that is not here.
    """

    def __init__(
        self,
        model_name: str | Path,
        revision: str | None = None,
        *,
        device: str | None = None,
        name: str | None = None,
        prompts: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        place = device or "cpu"
        loader = WeightLoader(locate(model_name, revision=revision, **options))
        spec = loader.spec
        self._text = ArrowEngine(loader, device=place) if spec.text else None
        self._image = VisionEncoder(loader, device=place) if spec.vision else None
        self._audio = AudioEncoder(loader, device=place) if spec.audio else None
        self._kind = spec.embedding.similarity if spec.embedding else Similarity.COSINE
        self._prompts = dict(prompts or (self._text.prompts if self._text else {}))
        self._fingerprint = loader.fingerprint
        self._meta = _meta(loader, name or _name(model_name))

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb writes beside results: name, revision, modalities, similarity, width."""
        return self._meta

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,  # noqa: ARG002 - mteb's interface
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Embeddings (n, E) of all items of all batches.

        Args:
            inputs: batches with ``text``, ``image`` or ``audio``, a list each.
            task_metadata: the task, which decides on the prompt.
            hf_split: not needed.
            hf_subset: not needed.
            prompt_type: query, document or none.
            kwargs: ``batch_size``, ``show_progress_bar`` and ``precision``.

        Raises:
            InputError: an item of a modality that the model has no tower for, one that cannot be
                embedded, or another option.
        """
        if unknown := set(kwargs) - _KNOWN:
            raise InputError(f"{', '.join(sorted(unknown))}: no such option of this encoder")
        precision = kwargs.pop("precision", None) or "float32"
        check_precision(precision)
        prompt = self._prompt(task_metadata, prompt_type)
        found = [self._batch(batch, prompt, kwargs) for batch in inputs]
        whole = np.concatenate(found) if found else np.empty((0, self._meta.embed_dim), np.float32)
        return in_precision(whole, precision, None, self._fingerprint, normalized=False)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """(n, E) and (m, E) -> (n, m) scores by the model's similarity."""
        return torch.from_numpy(scores.similarity(self._kind, embeddings1, embeddings2))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """(n, E) and (n, E) -> (n,) scores of equal rows."""
        return torch.from_numpy(scores.similarity_pairwise(self._kind, embeddings1, embeddings2))

    def _prompt(self, task_metadata: Any, prompt_type: Any) -> str | None:
        """The text in front of texts; None leaves it to the model's default prompt."""
        name = get_prompt_name(self._prompts, task_metadata, prompt_type)
        if name is not None or self._text is None or prompt_type is None:
            return self._prompts[name] if name is not None else None
        prompts = self._text.prompt_texts
        return prompts.query if prompt_type.value == "query" else prompts.document

    def _batch(
        self, batch: Mapping[str, Any], prompt: str | None, options: dict[str, Any]
    ) -> np.ndarray:
        """One batch of n items -> (n, E), the sum over the modalities that an item has."""
        parts = []
        if "text" in batch:
            engine = self._tower(self._text, "text")
            parts.append(engine.encode(list(batch["text"]), prompt=prompt, **options))
        if "image" in batch:
            engine = self._tower(self._image, "image")
            parts.append(engine.encode(list(batch["image"]), **options))
        if "audio" in batch:
            engine = self._tower(self._audio, "audio")
            parts.append(engine.encode([_sound(item) for item in batch["audio"]], **options))
        if not parts:
            raise InputError(
                f"the batch holds {', '.join(batch)}; text, image or audio can be embedded"
            )
        total: np.ndarray = np.sum(parts, axis=0)
        return total

    def _tower(self, engine: Any, modality: str) -> Any:
        if engine is None:
            raise InputError(
                f"{self._meta.name} embeds {', '.join(self._meta.modalities)}, not {modality}; "
                "choose tasks of its modalities"
            )
        return engine


def _sound(item: Any) -> dict[str, Any]:
    """An item of datasets, which may be a decoder, as `AudioEncoder` takes it."""
    return {"array": np.asarray(item["array"]), "sampling_rate": int(item["sampling_rate"])}


def _name(model: str | Path) -> str:
    path = Path(model)
    if not path.exists() and "/" in str(model):
        return str(model)
    return f"llm-compression/{path.parent.name if path.stem == 'model' else path.stem}"


def _meta(loader: WeightLoader, name: str) -> ModelMeta:
    spec = loader.spec
    towers = {"text": spec.text, "image": spec.vision, "audio": spec.audio}
    kind = spec.embedding.similarity if spec.embedding else Similarity.COSINE
    return ModelMeta.create_empty(
        {
            "loader": ArrowEncoder,
            "name": name,
            "revision": loader.fingerprint,
            "embed_dim": spec.dimension,
            "max_tokens": spec.embedding.max_seq_length if spec.embedding else None,
            "modalities": [modality for modality, tower in towers.items() if tower],
            "similarity_fn_name": ScoringFunction(kind.value),
            "framework": ["PyTorch"],
        }
    )
