"""The reference: the checkpoint run by transformers, with the same taps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from llm_compression.errors import MissingDependencyError, ParityError
from llm_compression.multimodal.tokenizer import lowercasing
from llm_compression.spec.model import ModelSpec, Pooling
from llm_compression.spec.tensors import BLOCK
from llm_compression.weights.schema import TensorEntry


@dataclass(frozen=True)
class Reference:
    """Token ids and mask (B, T) as the reference's own tokenizer gives them, and its taps."""

    ids: np.ndarray
    mask: np.ndarray
    taps: dict[str, np.ndarray]


def run_reference(
    checkpoint: Path, spec: ModelSpec, tensors: Sequence[TensorEntry], texts: Sequence[str]
) -> Reference:
    """Run ``texts`` as one padded batch through transformers in float32.

    The module to tap is the one whose weight our tensor came from, so every family is served
    without a table of its own.

    Raises:
        MissingDependencyError: transformers is not installed.
        ParityError: the checkpoint does not load, or has not the modules.
    """
    model, tokenizer = _load(checkpoint)
    batch = _tokenize(tokenizer, spec, texts)
    taps: dict[str, np.ndarray] = {}
    hooks = [
        _module(model, source).register_forward_hook(_keep(taps, name))
        for name, source in _tapped(spec, tensors).items()
    ]
    try:
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    mask = batch["attention_mask"].bool()
    pooled = _POOLS[spec.embedding.pooling](hidden, mask)
    taps["pooled"] = pooled.numpy()
    if spec.embedding.normalize:
        pooled = pooled / pooled.norm(dim=1, keepdim=True)
    taps["embedding"] = pooled.numpy()
    return Reference(batch["input_ids"].numpy(), mask.numpy(), taps)


def _transformers() -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError(
            "validation compares with transformers; pip install 'llm-compression[validate]'"
        ) from error
    return transformers


def _load(checkpoint: Path) -> tuple[Any, Any]:
    transformers = _transformers()
    transformers.utils.logging.disable_progress_bar()
    try:
        model = transformers.AutoModel.from_pretrained(
            checkpoint,
            attn_implementation="eager",  # the textbook form, not a kernel that we may share
            local_files_only=True,
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ParityError(f"transformers cannot load {checkpoint}: {error}") from error
    # float32 whatever the checkpoint has, whose own dtype transformers 5 would otherwise keep
    return model.float().eval(), tokenizer


def _tokenize(tokenizer: Any, spec: ModelSpec, texts: Sequence[str]) -> Mapping[str, torch.Tensor]:
    if spec.tokenizer.lowercase:
        backend = tokenizer.backend_tokenizer
        backend.normalizer = lowercasing(backend.normalizer)
    batch = tokenizer(
        list(texts),
        padding=True,
        truncation=True,
        max_length=spec.embedding.max_seq_length,
        padding_side="right",
        return_tensors="pt",
    )
    return dict(batch)


def _tapped(spec: ModelSpec, tensors: Sequence[TensorEntry]) -> dict[str, str]:
    """Tap name -> the source's name of the weight whose module gives it."""
    source = {entry.name: entry.source for entry in tensors}
    tapped = {"embeddings": source["text.embeddings.norm.weight"]}
    for i in range(spec.text.num_layers):
        block = BLOCK.format(i=i)
        for sublayer in ("attn", "mlp"):  # a post-norm sublayer ends with its norm
            tapped[f"block.{i:02d}.{sublayer}"] = source[f"{block}.{sublayer}_norm.weight"]
    return tapped


def _module(model: Any, weight: str) -> Any:
    path = weight.rpartition(".")[0]
    modules = dict(model.named_modules())
    for name in (path, path.partition(".")[2]):  # full models put a prefix before the encoder
        if name in modules:
            return modules[name]
    raise ParityError(f"{type(model).__name__} has no module {path}; is it the same checkpoint?")


def _keep(taps: dict[str, np.ndarray], name: str) -> Any:
    def hook(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
        taps[name] = output.numpy().copy()

    return hook


# sentence_transformers/sentence_transformer/modules/pooling.py, Pooling.forward
def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    expanded = mask.unsqueeze(-1).expand(hidden.size()).float()
    return torch.sum(hidden * expanded, 1) / torch.clamp(expanded.sum(1), min=1e-9)


def _max(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    kept = [row[real].max(dim=0).values for row, real in zip(hidden, mask, strict=True)]
    return torch.stack(kept)


def _last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.stack([row[real][-1] for row, real in zip(hidden, mask, strict=True)])


_POOLS = {
    Pooling.MEAN: _mean,
    Pooling.CLS: lambda hidden, _mask: hidden[:, 0],
    Pooling.MAX: _max,
    Pooling.LAST_TOKEN: _last,
}
