"""Tower specs: what surrounds a stack of blocks for one modality."""

from dataclasses import dataclass

from llm_compression.errors import SpecError
from llm_compression.spec.block import BlockSpec


@dataclass(frozen=True)
class TextSpec:
    """A text tower: embedding tables, their norm, then ``num_layers`` blocks.

    ``position_offset`` is the row of the position table that the first token uses (RoBERTa
    starts at ``pad_token_id + 1``). ``type_vocab_size`` 0 means that no type table exists.
    ``pooler`` says whether the dense layer of BERT's pre-training stands in the file.
    """

    vocab_size: int
    max_position_embeddings: int
    position_offset: int
    type_vocab_size: int
    num_layers: int
    pooler: bool
    block: BlockSpec

    def __post_init__(self) -> None:
        for field in ("vocab_size", "max_position_embeddings", "num_layers"):
            if getattr(self, field) < 1:
                raise SpecError(f"text.{field} is {getattr(self, field)}; it must be at least 1")
        if self.type_vocab_size < 0:
            raise SpecError(f"text.type_vocab_size is {self.type_vocab_size}; 0 means no table")
        if not 0 <= self.position_offset < self.max_position_embeddings:
            raise SpecError(
                f"text.position_offset {self.position_offset} leaves no position of "
                f"{self.max_position_embeddings} for a token"
            )

    @property
    def max_tokens(self) -> int:
        """The longest sequence that has positions, in tokens."""
        return self.max_position_embeddings - self.position_offset
