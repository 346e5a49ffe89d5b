"""Whether the compiled core can be used here, found by running it beside plain torch."""

import functools
from array import array

import torch

from llm_compression.inference.attention import Attention, SeparateQKV
from llm_compression.inference.block import Block
from llm_compression.inference.inference_core import InferenceCore
from llm_compression.inference.kernels import EXACT
from llm_compression.inference.linear import Linear
from llm_compression.inference.mlp import MLP
from llm_compression.inference.native_core import pack
from llm_compression.inference.norm import LayerNorm
from llm_compression.inference.sequences import Sequences
from llm_compression.native.library import Kind, Library, library
from llm_compression.spec.block import Activation, NormPlacement

_WIDTH, _INNER, _HEADS = 48, 64, 2
SAMPLE = Sequences.of([5, 3])
# What `told` says of the states that torch's operators give in float64. Running these here would
# take as long as opening a model, as they are set up on first use.
ANSWER = (
    *(48.052548, 23.973558, 32.473204, 28.466455),
    *(25.610909, 40.894939, 23.289544, 38.941474),
)
_PATTERN = [i * 37 % 101 / 50 - 1 for i in range(101)]  # that of all samples, over and over
_BOUNDS = {Kind.FLOAT32: 1e-4, Kind.BFLOAT16: 0.1, Kind.INT8: 0.1}


@functools.cache
def usable(kind: Kind) -> Library | None:
    """The library, if it was built, if the processor has its instructions, and it is right."""
    found = library()
    if found is None or not found.runs(kind):
        return None
    with torch.inference_mode():
        states = pack(sample_core(), kind, found)(sample_states(), SAMPLE)
    right = all(abs(a - b) <= _BOUNDS[kind] for a, b in zip(told(states), ANSWER, strict=True))
    return found if right else None


def told(states: torch.Tensor) -> list[float]:
    """A number for each of (8, 48) states in which every one of its values counts otherwise."""
    rows: list[list[float]] = states.tolist()
    return [sum(a * b for a, b in zip(row, _PATTERN, strict=False)) for row in rows]


def sample_states() -> torch.Tensor:
    """(8, 48) of `SAMPLE`."""
    return _numbers(8, _WIDTH)


def sample_core() -> InferenceCore:
    """One block of what a core consists of."""
    q, k, v, o = (_linear(_WIDTH, _WIDTH) for _ in range(4))
    mlp = MLP(_linear(_INNER, _WIDTH, Activation.GELU), _linear(_WIDTH, _INNER))
    scale = (_WIDTH // _HEADS) ** -0.5
    attention = Attention(SeparateQKV(q, k, v), o, _HEADS, causal=False, scale=scale)
    norm = LayerNorm(torch.ones(_WIDTH, **EXACT), torch.zeros(_WIDTH, **EXACT), 1e-5)
    return InferenceCore((Block("", attention, norm, mlp, norm, NormPlacement.PRE),))


def _linear(out: int, inputs: int, activation: Activation | None = None) -> Linear:
    return Linear(_numbers(out, inputs, inputs**-0.5), _numbers(1, out)[0], activation)


def _numbers(rows: int, columns: int, scale: float = 1.0) -> torch.Tensor:
    count = rows * columns
    repeated = array("f", [scale * number for number in _PATTERN]) * (count // len(_PATTERN) + 1)
    return torch.frombuffer(repeated, dtype=torch.float32, count=count).view(rows, columns)
