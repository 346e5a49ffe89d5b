"""ModelSpec: all that must be known to run a model, and nothing left to guess."""

from dataclasses import dataclass, field
from enum import Enum

from llm_compression.errors import SpecError
from llm_compression.spec.towers import TextSpec


class Family(Enum):
    """A group of checkpoints that one conversion table and one set of towers serve."""

    BERT = "bert"


class Pooling(Enum):
    """How (B, T, D) becomes (B, D); values are those of sentence-transformers."""

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"
    LAST_TOKEN = "lasttoken"  # noqa: S105  no password


class Similarity(Enum):
    """The score that a model's embeddings were trained for."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"


@dataclass(frozen=True)
class TokenizerSpec:
    """What a run needs beyond ``tokenizer.json``."""

    pad_token_id: int
    lowercase: bool  # sentence-transformers' own lowercasing, before the tokenizer
    truncation_side: str

    def __post_init__(self) -> None:
        if self.truncation_side not in ("left", "right"):
            raise SpecError(
                f"tokenizer.truncation_side is {self.truncation_side!r}; use 'left' or 'right'"
            )


@dataclass(frozen=True)
class EmbeddingSpec:
    """From hidden states to the embedding that a user sees."""

    pooling: Pooling
    normalize: bool
    max_seq_length: int
    similarity: Similarity
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None

    def __post_init__(self) -> None:
        if self.default_prompt_name is not None and self.default_prompt_name not in self.prompts:
            raise SpecError(
                f"embedding.default_prompt_name {self.default_prompt_name!r} is not among the "
                f"prompts {sorted(self.prompts)}"
            )


@dataclass(frozen=True)
class ModelSpec:
    """One model."""

    family: Family
    text: TextSpec
    tokenizer: TokenizerSpec
    embedding: EmbeddingSpec

    def __post_init__(self) -> None:
        if not 0 <= self.tokenizer.pad_token_id < self.text.vocab_size:
            raise SpecError(
                f"tokenizer.pad_token_id {self.tokenizer.pad_token_id} is outside the vocabulary "
                f"of {self.text.vocab_size} tokens"
            )
        if not 1 <= self.embedding.max_seq_length <= self.text.max_tokens:
            raise SpecError(
                f"embedding.max_seq_length {self.embedding.max_seq_length} is outside "
                f"1..{self.text.max_tokens}, the positions that the model has"
            )

    @property
    def dimension(self) -> int:
        """Width E of the embedding."""
        return self.text.block.hidden_size
