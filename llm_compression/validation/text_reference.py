"""The text side of the reference: token ids, and taps of the text tower."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_compression.multimodal.text.model import text_parts
from llm_compression.multimodal.text.tokenizer import lowercasing
from llm_compression.spec.model import Family, ModelSpec, Pooling
from llm_compression.validation.reference import (
    Place,
    Tapped,
    block_taps,
    load_part,
    numpy_taps,
    tapping,
    transformers,
)
from llm_compression.weights.schema import TensorEntry


@dataclass(frozen=True)
class TextReference:
    """Token ids and mask (B, T) as the reference's own tokenizer gives them, and its taps."""

    ids: np.ndarray
    mask: np.ndarray
    taps: dict[str, np.ndarray]


def run_texts(
    model: Any,
    checkpoint: Path,
    spec: ModelSpec,
    tensors: Sequence[TensorEntry],
    texts: Sequence[str],
) -> TextReference:
    """Run ``texts`` as one padded batch through transformers in float32.

    Raises:
        ParityError: the tokenizer does not load, or the model has not the modules.
    """
    tokenizer = load_part(transformers().AutoTokenizer, checkpoint)
    batch = _tokenize(tokenizer, spec, texts)
    with tapping(model, _tapped(spec), tensors) as taps:
        run = getattr(model, "get_text_features", model)
        output = run(**batch)
    mask = batch["attention_mask"].bool()
    if spec.family is Family.BERT:
        taps |= _pooled(output.last_hidden_state, mask, spec)
    elif "pooled" not in taps:  # no projection
        taps["pooled"] = taps["embedding"] = output.pooler_output
    return TextReference(batch["input_ids"].numpy(), mask.numpy(), numpy_taps(taps))


def _tokenize(tokenizer: Any, spec: ModelSpec, texts: Sequence[str]) -> Mapping[str, torch.Tensor]:
    _, own, embedding = text_parts(spec)
    if own.lowercase:
        backend = tokenizer.backend_tokenizer
        backend.normalizer = lowercasing(backend.normalizer)
    batch = tokenizer(
        list(texts),
        padding=True,
        truncation=True,
        max_length=embedding.max_seq_length,
        padding_side="right",
        return_tensors="pt",
    )
    return dict(batch)


def _tapped(spec: ModelSpec) -> list[Tapped]:
    text, _, _ = text_parts(spec)
    if text.embedding_norm:
        first = Tapped("embeddings", "text.embeddings.norm.weight")
    else:
        first = Tapped("embeddings", "text.embeddings.token", Place.AROUND)
    taps = [first, *block_taps("text", text)]
    if text.final_norm:
        taps.append(Tapped("final_norm", "text.final_norm.weight"))
    if text.projection_dim:
        taps.append(Tapped("pooled", "text.projection.weight", Place.INPUT))
        taps.append(Tapped("embedding", "text.projection.weight"))
    return taps


def _pooled(hidden: torch.Tensor, mask: torch.Tensor, spec: ModelSpec) -> dict[str, torch.Tensor]:
    _, _, embedding = text_parts(spec)
    pooled = _POOLS[embedding.pooling](hidden, mask)
    unit = pooled / pooled.norm(dim=1, keepdim=True) if embedding.normalize else pooled
    return {"pooled": pooled, "embedding": unit}


# sentence_transformers/sentence_transformer/modules/pooling.py, Pooling.forward
def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    expanded = mask.unsqueeze(-1).expand(hidden.size()).float()
    return torch.sum(hidden * expanded, 1) / torch.clamp(expanded.sum(1), min=1e-9)


def _max(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    kept = [row[real].max(dim=0).values for row, real in zip(hidden, mask, strict=True)]
    return torch.stack(kept)


def _last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.stack([row[real][-1] for row, real in zip(hidden, mask, strict=True)])


_POOLS: dict[Pooling, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    Pooling.MEAN: _mean,
    Pooling.CLS: lambda hidden, _mask: hidden[:, 0],
    Pooling.MAX: _max,
    Pooling.LAST_TOKEN: _last,
}
