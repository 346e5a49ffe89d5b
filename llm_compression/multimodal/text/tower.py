"""TextTower: token, position and type embeddings in front of the core, norms around it."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from llm_compression.inference.bind import Tensors, bind_core, bind_norm
from llm_compression.inference.inference_core import InferenceCore
from llm_compression.inference.norm import LayerNorm
from llm_compression.inference.taps import Taps, tap
from llm_compression.spec.towers import TextSpec


@dataclass(frozen=True, slots=True)
class TextTower:
    """Token ids to hidden states."""

    token: torch.Tensor  # (V, D)
    position: torch.Tensor  # (positions, D)
    type: torch.Tensor | None  # (types, D)
    embedding_norm: LayerNorm | None
    core: InferenceCore
    final_norm: LayerNorm | None
    position_offset: int

    def __call__(
        self, ids: torch.Tensor, mask: torch.Tensor | None, taps: Taps | None = None
    ) -> torch.Tensor:
        """(B, T) ids -> (B, T, D); ``mask`` (B, T) is true at real tokens, None if all are."""
        hidden = self.core(tap(taps, "embeddings", self._embed(ids)), mask, taps)
        return tap(taps, "final_norm", self.final_norm(hidden)) if self.final_norm else hidden

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        # The order of the sums is that of transformers/models/bert/modeling_bert.py,
        # BertEmbeddings.forward; a single text has token type 0 throughout. CLIP has no types
        # and no norm here: modeling_clip.py, CLIPTextEmbeddings.forward.
        embedded = F.embedding(ids, self.token)  # (B, T, D)
        if self.type is not None:
            embedded = embedded + self.type[0]
        embedded = embedded + F.embedding(self._positions(ids), self.position)
        return self.embedding_norm(embedded) if self.embedding_norm else embedded

    def _positions(self, ids: torch.Tensor) -> torch.Tensor:
        if not self.position_offset:
            return torch.arange(ids.shape[1], device=ids.device)  # (T,)
        # transformers/models/roberta/modeling_roberta.py, create_position_ids_from_input_ids:
        # counting starts after the padding id, whose own position it is.
        padding = self.position_offset - 1
        real = (ids != padding).int()
        return torch.cumsum(real, 1) * real + padding  # (B, T)


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
