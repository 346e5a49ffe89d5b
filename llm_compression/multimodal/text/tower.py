"""TextTower: token, position and type embeddings in front of the core, norms around it."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from llm_compression.inference.bind import Tensors, bind_core, bind_norm
from llm_compression.inference.inference_core import Core
from llm_compression.inference.norm import LayerNorm
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.taps import Taps, tap
from llm_compression.spec.towers import TextSpec


@dataclass(frozen=True, slots=True)
class TextTower:
    """Token ids to hidden states."""

    token: torch.Tensor  # (V, D)
    position: torch.Tensor  # (positions, D)
    type: torch.Tensor | None  # (types, D)
    embedding_norm: LayerNorm | None
    core: Core
    final_norm: LayerNorm | None
    position_offset: int

    def __call__(
        self,
        ids: torch.Tensor,
        sequences: Sequences,
        taps: Taps | None = None,
        rows: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(N,) ids, those of ``sequences`` one after another -> (N, D), or (R, D) of ``rows``."""
        embedded = tap(taps, "embeddings", self._embed(ids, sequences), sequences)
        hidden = self.core(embedded, sequences, taps, rows)
        if self.final_norm is None:
            return hidden
        return tap(taps, "final_norm", self.final_norm(hidden), sequences)

    def _embed(self, ids: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        # transformers/models/bert/modeling_bert.py, BertEmbeddings.forward; a single text has
        # token type 0 throughout. CLIP has no types and no norm here: modeling_clip.py,
        # CLIPTextEmbeddings.forward.
        embedded = F.embedding(ids, self.token)  # (N, D)
        if self.type is not None:
            embedded = embedded + self.type[0]
        embedded = embedded + F.embedding(self._positions(ids, sequences), self.position)
        return self.embedding_norm(embedded) if self.embedding_norm else embedded

    def _positions(self, ids: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        """The row of the position table that each token uses, (N,)."""
        if not self.position_offset:
            return sequences.positions(ids.device)
        # transformers/models/roberta/modeling_roberta.py, create_position_ids_from_input_ids:
        # counting starts after the padding id, whose own position it is.
        padding = self.position_offset - 1
        real = (ids != padding).int()
        return sequences.counted(real) * real + padding


def bind_text_tower(tensors: Tensors, spec: TextSpec) -> TextTower:
    """The tower over checked tensors; shares their memory."""
    eps = spec.block.norm_eps
    return TextTower(
        token=tensors["text.embeddings.token"],
        position=tensors["text.embeddings.position"],
        type=tensors.get("text.embeddings.type"),
        embedding_norm=bind_norm(tensors, "text.embeddings.norm", eps)
        if spec.embedding_norm
        else None,
        core=bind_core(tensors, "text", spec.block, spec.num_layers),
        final_norm=bind_norm(tensors, "text.final_norm", eps) if spec.final_norm else None,
        position_offset=spec.position_offset,
    )
