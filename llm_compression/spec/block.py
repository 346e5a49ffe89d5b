"""BlockSpec: one transformer block, every difference between families as a value."""

from dataclasses import dataclass
from enum import Enum

from llm_compression.errors import SpecError
from llm_compression.spec.codec import later


class NormPlacement(Enum):
    """Where a block's norms stand: before each sublayer, or after its residual sum."""

    PRE = "pre"
    POST = "post"


class Activation(Enum):
    """The MLP's nonlinearity, under the name that Hugging Face configs use."""

    GELU = "gelu"  # exact, with erf
    GELU_TANH = "gelu_new"
    QUICK_GELU = "quick_gelu"
    RELU = "relu"
    SILU = "silu"


class AttentionBias(Enum):
    """Which of an attention's linear maps have a bias; the values name those that do."""

    ALL = "qkvo"
    ALL_BUT_KEY = "qvo"


@dataclass(frozen=True)
class BlockSpec:
    """Self-attention and MLP with layer norms; the MLP has biases.

    ``hidden_size`` D, ``num_heads`` H; a head is D / H wide. In a ``causal`` block a token sees
    itself and those before it, otherwise all.
    """

    hidden_size: int
    num_heads: int
    intermediate_size: int
    norm_placement: NormPlacement
    norm_eps: float
    activation: Activation
    causal: bool = later(default=False)
    attention_bias: AttentionBias = later(default=AttentionBias.ALL)

    @property
    def head_size(self) -> int:
        """Width d of a head."""
        return self.hidden_size // self.num_heads

    def __post_init__(self) -> None:
        for field in ("hidden_size", "num_heads", "intermediate_size"):
            if getattr(self, field) < 1:
                raise SpecError(f"block.{field} is {getattr(self, field)}; it must be at least 1")
        if not 0 <= self.norm_eps < 1:
            raise SpecError(f"block.norm_eps is {self.norm_eps}; it must be in [0, 1)")
        if self.hidden_size % self.num_heads:
            raise SpecError(
                f"block.hidden_size {self.hidden_size} is not a multiple of "
                f"block.num_heads {self.num_heads}; check hidden_size and num_attention_heads"
            )
