"""TextTower: token, position and type embeddings in front of the core."""

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
    norm: LayerNorm
    core: InferenceCore
    position_offset: int

    def __call__(
        self, ids: torch.Tensor, mask: torch.Tensor | None, taps: Taps | None = None
    ) -> torch.Tensor:
        """(B, T) ids -> (B, T, D); ``mask`` (B, T) is true at real tokens, None if all are."""
        return self.core(tap(taps, "embeddings", self._embed(ids)), mask, taps)

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        # The order of the sums is that of transformers/models/bert/modeling_bert.py,
        # BertEmbeddings.forward; a single text has token type 0 throughout.
        embedded = F.embedding(ids, self.token)  # (B, T, D)
        if self.type is not None:
            embedded = embedded + self.type[0]
        return self.norm(embedded + F.embedding(self._positions(ids), self.position))

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
    return TextTower(
        token=tensors["text.embeddings.token"],
        position=tensors["text.embeddings.position"],
        type=tensors.get("text.embeddings.type"),
        norm=bind_norm(tensors, "text.embeddings.norm", spec.block.norm_eps),
        core=bind_core(tensors, spec.block, spec.num_layers),
        position_offset=spec.position_offset,
    )
