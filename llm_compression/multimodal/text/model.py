"""TextModel: tower, pooling and projection; one batch of tokens to embeddings."""

from collections.abc import Sequence

import torch

from llm_compression.inference.bind import Tensors, check_tensors
from llm_compression.inference.precision import cast, compute_type
from llm_compression.inference.taps import Taps
from llm_compression.multimodal.encoded import Encoded
from llm_compression.multimodal.head import bind_head
from llm_compression.multimodal.inputs import no_tower
from llm_compression.multimodal.pooling import PaddedTokens, pool
from llm_compression.multimodal.text.tokenizer import Tokens
from llm_compression.multimodal.text.tower import bind_text_tower
from llm_compression.spec.model import EmbeddingSpec, ModelSpec, TokenizerSpec
from llm_compression.spec.tensors import text_tensors
from llm_compression.spec.towers import TextSpec


class TextModel:
    """Runs one batch at a time; batching, prompts and output precision are others' work.

    Args:
        spec: the model.
        tensors: those of the text tower under canonical names, all of them and no other.
        compute_dtype: ``float32`` or ``bfloat16``.

    Raises:
        InputError: the model has no text tower.
        BindError: tensors and spec do not fit each other.
    """

    def __init__(self, spec: ModelSpec, tensors: Tensors, *, compute_dtype: str) -> None:
        self.spec, self.tokenizer, self.embedding = text_parts(spec)
        check_tensors(tensors, text_tensors(self.spec))
        with torch.inference_mode():
            tensors = cast(tensors, compute_type(compute_dtype))
            self._tower = bind_text_tower(tensors, self.spec)
            self._head = bind_head(tensors, "text", self.spec.projection_dim)

    def __call__(
        self, batch: Sequence[Tokens], *, normalized: bool, taps: Taps | None = None
    ) -> Encoded:
        """Run one padded batch of B texts.

        ``taps``, if given, gains ``embeddings``, those of the core, ``final_norm`` where the
        tower has one, ``pooled`` and ``embedding``.
        """
        with torch.inference_mode():
            tokens = self._pad(batch)
            mask = None if tokens.mask.all() else tokens.mask
            hidden = self._tower(tokens.ids, mask, taps)  # (B, T, D)
            pooled = pool(self.embedding.pooling, hidden, tokens)
            pooled, embedding = self._head(pooled, normalized=normalized, taps=taps)
            return Encoded(hidden.float(), tokens.mask, pooled, embedding)

    def _pad(self, batch: Sequence[Tokens]) -> PaddedTokens:
        """Ids (B, T), padded on the right, and the mask (B, T) of real tokens."""
        lengths = torch.tensor([len(tokens.ids) for tokens in batch])
        longest = int(lengths.max())
        pad = [self.tokenizer.pad_token_id]
        ids = torch.tensor([t.ids + pad * (longest - len(t.ids)) for t in batch])
        mask = torch.arange(longest) < lengths[:, None]
        return PaddedTokens(ids, mask, self.tokenizer.eos_token_id)


def text_parts(spec: ModelSpec) -> tuple[TextSpec, TokenizerSpec, EmbeddingSpec]:
    """What a spec says of texts.

    Raises:
        InputError: the model has no text tower.
    """
    if spec.text is None or spec.tokenizer is None or spec.embedding is None:
        raise no_tower(spec, "text")
    return spec.text, spec.tokenizer, spec.embedding
