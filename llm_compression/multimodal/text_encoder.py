"""TextEncoder: tokenizer, tower and pooling of one model; token batches to embeddings."""

from collections.abc import Sequence

import numpy as np
import torch

from llm_compression.inference.bind import Tensors, check_tensors
from llm_compression.inference.precision import cast, compute_type
from llm_compression.inference.taps import Taps, tap
from llm_compression.multimodal.pooling import normalize, pool
from llm_compression.multimodal.text_tower import bind_text_tower
from llm_compression.multimodal.tokenizer import TextTokenizer, Tokens
from llm_compression.spec.model import ModelSpec
from llm_compression.spec.tensors import expected_tensors


class TextEncoder:
    """Runs one batch at a time; batching, prompts and output precision are the engine's.

    Args:
        spec: the model.
        tensors: its tensors under canonical names, all of them and no other.
        tokenizer: the bytes of its ``tokenizer.json``.
        compute_dtype: ``float32`` or ``bfloat16``.
        max_seq_length: tokens kept of a text.

    Raises:
        BindError: tensors and spec do not fit each other.
    """

    def __init__(
        self,
        spec: ModelSpec,
        tensors: Tensors,
        tokenizer: bytes,
        *,
        compute_dtype: str = "float32",
        max_seq_length: int | None = None,
    ) -> None:
        check_tensors(tensors, expected_tensors(spec))
        self.spec = spec
        self.tokenizer = TextTokenizer(
            tokenizer, spec.tokenizer, max_seq_length or spec.embedding.max_seq_length
        )
        with torch.inference_mode():
            self._tower = bind_text_tower(cast(tensors, compute_type(compute_dtype)), spec.text)

    def embed(
        self, batch: Sequence[Tokens], *, normalized: bool, taps: Taps | None = None
    ) -> np.ndarray:
        """One padded batch of B texts -> (B, E) float32.

        ``taps``, if given, gains ``embeddings``, those of the core, ``pooled`` and ``embedding``.
        """
        with torch.inference_mode():
            ids, mask = self._pad(batch)
            hidden = self._tower(ids, None if mask.all() else mask, taps)
            pooled = pool(self.spec.embedding.pooling, hidden.float(), mask)
            tap(taps, "pooled", pooled)
            embedding = normalize(pooled) if normalized else pooled
            return tap(taps, "embedding", embedding).numpy()

    def _pad(self, batch: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids (B, T), padded on the right, and the mask (B, T) of real tokens."""
        lengths = torch.tensor([len(tokens.ids) for tokens in batch])
        longest = int(lengths.max())
        pad = [self.spec.tokenizer.pad_token_id]
        ids = torch.tensor([t.ids + pad * (longest - len(t.ids)) for t in batch])
        return ids, torch.arange(longest) < lengths[:, None]
