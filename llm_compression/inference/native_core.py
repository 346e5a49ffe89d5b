"""NativeCore: an `InferenceCore` whose blocks are one call of the compiled library."""

from collections.abc import Callable
from ctypes import Array, c_int64, c_void_p, cast
from dataclasses import dataclass
from itertools import accumulate

import torch

from llm_compression.inference.attention import SeparateQKV
from llm_compression.inference.block import Block
from llm_compression.inference.inference_core import InferenceCore
from llm_compression.inference.int8 import rounded
from llm_compression.inference.linear import Linear, plain
from llm_compression.inference.norm import LayerNorm
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.taps import Taps, tap
from llm_compression.native import library
from llm_compression.native.library import Kind, Library
from llm_compression.spec.block import NormPlacement


@dataclass(frozen=True, slots=True)
class NativeCore:
    """Depth x block over weights that were packed for the library.

    Hidden states are float32 in between, whatever the products are computed in.
    """

    names: tuple[str, ...]  # of the blocks, for taps
    width: int
    structure: library.Core
    tensors: tuple[torch.Tensor, ...]  # what the structure points to
    functions: Library

    def __call__(
        self,
        hidden: torch.Tensor,
        sequences: Sequences,
        taps: Taps | None = None,
        rows: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(N, D) -> (N, D), or (R, D) of ``rows``, as `InferenceCore` does it.

        Raises:
            ValueError: taps, which are of all rows, are wanted of some.
        """
        if taps is not None and rows is not None:
            raise ValueError("taps are of all rows; leave out rows")
        given = hidden.float().contiguous()
        count = len(given)
        found = given.new_empty(count if rows is None else len(rows), self.width)
        states = None if taps is None else given.new_empty(2 * len(self.names), *given.shape)
        wanted = None if rows is None else rows.long().contiguous()
        starts = _starts(sequences)
        scores = None if sequences.scores is None else sequences.scores.float().contiguous()
        one = library.Pass(
            rows=count,
            sequences=library.Sequences(len(starts) - 1, cast(starts, c_void_p), _pointer(scores)),
            wanted=_pointer(wanted),
            wanted_rows=0 if wanted is None else len(wanted),
            taps=_pointer(states),
            hidden=given.data_ptr(),
            to=found.data_ptr(),
        )
        self.functions.run(self.structure, one, torch.get_num_threads())
        if states is not None:
            self._tap(taps, states.to(hidden.dtype), sequences)
        return found.to(hidden.dtype)

    def _tap(self, taps: Taps | None, states: torch.Tensor, sequences: Sequences) -> None:
        names = [f"{name}.{part}" for name in self.names for part in ("attn", "mlp")]
        for name, state in zip(names, states, strict=True):
            tap(taps, name, state, sequences)


def fits(core: InferenceCore, kind: Kind) -> bool:
    """Whether the library has what such blocks need: widths that fill its lanes."""
    block = core.blocks[0]
    width, inner = len(block.attn_norm.weight), len(plain(block.mlp.down).weight[0])
    size = width // block.attn.num_heads
    if kind is Kind.FLOAT32:
        return True
    return not (size % 2 or width % kind.per_lane or inner % kind.per_lane)


def pack(
    core: InferenceCore, kind: Kind, of: Library, release: Callable[[], None] = lambda: None
) -> NativeCore:
    """``core``, whose linear maps are plain, for the library.

    ``release`` is called behind each block, whose own weights nobody reads any more.
    """
    packing = _Packing(kind, of, [])
    blocks = (library.Block * len(core.blocks))()
    for i, block in enumerate(core.blocks):
        blocks[i] = packing.block(block)
        release()
    first = core.blocks[0]
    width, heads = len(first.attn_norm.weight), first.attn.num_heads
    halved = kind is not Kind.FLOAT32 and of.runs(Kind.BFLOAT16)
    structure = library.Core(
        kind=kind,
        heads=library.Heads(
            kind=Kind.BFLOAT16 if halved else Kind.FLOAT32,
            to_kind=Kind.BFLOAT16 if kind is Kind.BFLOAT16 else Kind.FLOAT32,
            count=heads,
            size=width // heads,
            causal=first.attn.causal,
            scale=first.attn.scale,
        ),
        norm_first=first.norm_placement is NormPlacement.PRE,
        activation=library.ACTIVATIONS[plain(first.mlp.up).activation],
        depth=len(blocks),
        width=width,
        inner=len(plain(first.mlp.up).weight),
        blocks=blocks,
    )
    names = tuple(block.name for block in core.blocks)
    return NativeCore(names, width, structure, tuple(packing.tensors), of)


@dataclass(frozen=True, slots=True)
class _Packing:
    """Makes structures of modules and keeps the tensors that these point to."""

    kind: Kind
    functions: Library
    tensors: list[torch.Tensor]

    def block(self, block: Block) -> library.Block:
        if not isinstance(block.attn.qkv, SeparateQKV):
            raise TypeError("the attention is packed already")
        qkv = block.attn.qkv
        return library.Block(
            qkv=self._linear([plain(qkv.q), plain(qkv.k), plain(qkv.v)]),
            o=self._linear([plain(block.attn.o)]),
            up=self._linear([plain(block.mlp.up)]),
            down=self._linear([plain(block.mlp.down)]),
            attn_norm=self._norm(block.attn_norm),
            mlp_norm=self._norm(block.mlp_norm),
        )

    def _linear(self, maps: list[Linear]) -> library.Linear:
        """One linear map of several; zeros where one has no bias."""
        steps = sums = None
        weights = [m.weight.contiguous() for m in maps]
        if self.kind is Kind.BFLOAT16:
            weights = [weight.bfloat16() for weight in weights]
        if self.kind is Kind.INT8:
            codes, found, totals = zip(*map(rounded, weights), strict=True)
            weights = [code.to(torch.int8) for code in codes]
            steps, sums = self._kept(torch.cat(found)), self._kept(torch.cat(totals))
        out, inputs = weights[0].shape
        biases = [m.weight.new_zeros(out) if m.bias is None else m.bias for m in maps]
        panels = self.functions.pack(self.kind, weights, torch.get_num_threads())
        self.tensors.append(panels)
        bias = self._kept(torch.cat(biases))
        return library.Linear(panels.data_ptr(), bias, steps, sums, inputs, len(maps) * out)

    def _norm(self, norm: LayerNorm) -> library.Norm:
        return library.Norm(self._kept(norm.weight), self._kept(norm.bias), norm.eps)

    def _kept(self, tensor: torch.Tensor) -> int:
        self.tensors.append(tensor.to(torch.float32, copy=True).contiguous())
        return self.tensors[-1].data_ptr()


def _starts(sequences: Sequences) -> "Array[c_int64]":
    lengths = sequences.lengths
    return (c_int64 * (len(lengths) + 1))(0, *accumulate(lengths))


def _pointer(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
