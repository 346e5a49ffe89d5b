"""TextModel: tower, pooling and projection; one batch of tokens to embeddings."""

from collections.abc import Sequence

import torch

from llm_compression.inference.bind import Tensors, check_tensors
from llm_compression.inference.compute import Compute
from llm_compression.inference.device import sent
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.taps import Taps
from llm_compression.multimodal.encoded import Encoded
from llm_compression.multimodal.head import Head, bind_head
from llm_compression.multimodal.inputs import no_tower
from llm_compression.multimodal.pooling import pool, pooled_rows
from llm_compression.multimodal.text.tokenizer import Tokens
from llm_compression.multimodal.text.tower import TextTower, bind_text_tower
from llm_compression.once import Once
from llm_compression.spec.model import EmbeddingSpec, ModelSpec, TokenizerSpec
from llm_compression.spec.tensors import text_tensors
from llm_compression.spec.towers import TextSpec


class TextModel:
    """Runs one batch at a time; batching, prompts and output precision are others' work.

    Args:
        spec: the model.
        tensors: those of the text tower under canonical names, all of them and no other.
        compute: in which type, on which form of the weights; they are prepared on first use.

    Raises:
        InputError: the model has no text tower.
        BindError: tensors and spec do not fit each other.
    """

    def __init__(self, spec: ModelSpec, tensors: Tensors, compute: Compute) -> None:
        self.spec, self.tokenizer, self.embedding = text_parts(spec)
        check_tensors(tensors, text_tensors(self.spec))
        self._compute = compute
        self._parts = Once(lambda: compute.prepared(self._bind, tensors))

    def _bind(self, tensors: Tensors) -> tuple[TextTower, Head]:
        tower = bind_text_tower(tensors, self.spec)
        return tower, bind_head(tensors, "text", self.spec.projection_dim)

    def prepare(self) -> None:
        """Make the weights ready, which otherwise the first batch waits for."""
        self._parts()

    def __call__(
        self,
        batch: Sequence[Tokens],
        *,
        normalized: bool,
        taps: Taps | None = None,
        whole: bool = True,
    ) -> Encoded:
        """Run one batch of B texts, none of them padded; without ``whole`` for what is pooled.

        ``taps``, if given, gains ``embeddings``, those of the core, ``final_norm`` where the
        tower has one, ``pooled`` and ``embedding``.
        """
        with self._compute.mode():
            ids = torch.tensor([i for tokens in batch for i in tokens.ids], device="cpu")
            ids = sent(ids, self._compute.device)  # (N,)
            sequences = Sequences.of(len(tokens.ids) for tokens in batch)
            tower, head = self._parts()
            pooling, eos = self.embedding.pooling, self.tokenizer.eos_token_id
            rows = None if whole else pooled_rows(pooling, ids, sequences, eos)
            hidden = tower(ids, sequences, taps, rows)  # (N, D) or (B, D)
            if rows is None:
                pooled = pool(pooling, hidden, ids, sequences, eos)
            else:
                pooled, sequences = hidden, Sequences.dense(len(batch), 1)
            pooled, embedding = head(pooled, normalized=normalized, taps=taps)
            return Encoded(hidden, sequences, pooled, embedding)


def text_parts(spec: ModelSpec) -> tuple[TextSpec, TokenizerSpec, EmbeddingSpec]:
    """What a spec says of texts.

    Raises:
        InputError: the model has no text tower.
    """
    if spec.text is None or spec.tokenizer is None or spec.embedding is None:
        raise no_tower(spec, "text")
    return spec.text, spec.tokenizer, spec.embedding
