"""NativeCore: an `InferenceCore` whose blocks are one call of the compiled library."""

from collections.abc import Callable
from ctypes import Array, c_int64, c_void_p, cast
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch

from llm_compression.inference.attention import SeparateQKV
from llm_compression.inference.block import Block
from llm_compression.inference.inference_core import InferenceCore
from llm_compression.inference.int8 import rounded
from llm_compression.inference.linear import Linear, plain
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.taps import Taps, tap
from llm_compression.native import library
from llm_compression.native.library import Kind, Library
from llm_compression.spec.block import NormPlacement

FEW = 32  # rows that the library can run on weights as they are stored; tile.h, PANEL


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
        if rows is not None and not len(rows):  # an empty tensor has no address to point to
            return hidden.new_empty(0, self.width)
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
    room = library.room_for(sum(_lanes(block, kind) for block in core.blocks))
    return _assembled(core, kind, of, _Packing(kind, of, room), release)


def as_stored(core: InferenceCore, of: Library) -> NativeCore:
    """``core``, whose linear maps are plain, on its own weights; for passes of `FEW` rows."""
    return _assembled(core, Kind.FLOAT32, of, _Storing(), lambda: None)


def _assembled(
    core: InferenceCore, kind: Kind, of: Library, weights: "_Weights", release: Callable[[], None]
) -> NativeCore:
    blocks = (library.Block * len(core.blocks))()
    for i, block in enumerate(core.blocks):
        blocks[i] = _structure(block, weights)
        release()
    first = core.blocks[0]
    width, heads = len(first.attn_norm.weight), first.attn.num_heads
    halved = kind is not Kind.FLOAT32 and of.runs(Kind.BFLOAT16)
    structure = library.Core(
        kind=kind,
        amx=of.amx,
        heads=library.Heads(
            kind=Kind.BFLOAT16 if halved else Kind.FLOAT32,
            to_kind=Kind.BFLOAT16 if kind is Kind.BFLOAT16 else Kind.FLOAT32,
            count=heads,
            size=width // heads,
            causal=first.attn.causal,
            scale=first.attn.scale,
            amx=of.amx,
        ),
        norm_first=first.norm_placement is NormPlacement.PRE,
        activation=library.ACTIVATIONS[plain(first.mlp.up).activation],
        depth=len(blocks),
        width=width,
        inner=len(plain(first.mlp.up).weight),
        blocks=blocks,
    )
    names = tuple(block.name for block in core.blocks)
    return NativeCore(names, width, structure, tuple(weights.tensors), of)


class _Weights(Protocol):
    """Makes structures of linear maps, and keeps the tensors that these point to."""

    tensors: list[torch.Tensor]

    def linear(self, maps: list[Linear]) -> library.Linear:
        """One linear map of several of a shape."""
        ...

    def vector(self, tensor: torch.Tensor) -> int:
        """Where its float32 numbers stand."""
        ...


class _Storing:
    """Linear maps by their own weights."""

    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []

    def linear(self, maps: list[Linear]) -> library.Linear:
        weights = [m.weight.contiguous() for m in maps]
        self.tensors += weights
        out, inputs = weights[0].shape
        return library.Linear(
            parts=(c_void_p * 3)(*(weight.data_ptr() for weight in weights)),
            part_rows=out,
            bias=self.vector(_bias(maps)),
            inputs=inputs,
            outputs=len(maps) * out,
        )

    def vector(self, tensor: torch.Tensor) -> int:
        self.tensors.append(tensor.float().contiguous())
        return self.tensors[-1].data_ptr()


class _Packing:
    """Linear maps by packed copies of their weights, which ``room`` has lanes for."""

    def __init__(self, kind: Kind, functions: Library, room: torch.Tensor) -> None:
        self.tensors = [room]
        self._kind, self._functions, self._room = kind, functions, room

    def linear(self, maps: list[Linear]) -> library.Linear:
        steps = sums = None
        weights = [m.weight.contiguous() for m in maps]
        if self._kind is Kind.BFLOAT16:
            weights = [weight.bfloat16() for weight in weights]
        if self._kind is Kind.INT8:
            codes, found, totals = zip(*map(rounded, weights), strict=True)
            weights = [code.to(torch.int8) for code in codes]
            steps, sums = self.vector(torch.cat(found)), self.vector(torch.cat(totals))
        out, inputs = weights[0].shape
        panels = self._room[: library.packed_lanes(self._kind, len(maps) * out, inputs)]
        self._room = self._room[len(panels) :]
        self._functions.pack(self._kind, weights, torch.get_num_threads(), panels)
        return library.Linear(
            panels=panels.data_ptr(),
            bias=self.vector(_bias(maps)),
            steps=steps,
            sums=sums,
            inputs=inputs,
            outputs=len(maps) * out,
        )

    def vector(self, tensor: torch.Tensor) -> int:
        self.tensors.append(tensor.to(torch.float32, copy=True).contiguous())
        return self.tensors[-1].data_ptr()


def _structure(block: Block, by: _Weights) -> library.Block:
    qkv, *others = _maps(block)
    norms = (
        library.Norm(by.vector(norm.weight), by.vector(norm.bias), norm.eps)
        for norm in (block.attn_norm, block.mlp_norm)
    )
    return library.Block(by.linear(qkv), *map(by.linear, others), *norms)


def _maps(block: Block) -> list[list[Linear]]:
    """The linear maps of a block, those in a list as one."""
    if not isinstance(block.attn.qkv, SeparateQKV):
        raise TypeError("the attention is packed already")
    qkv, mlp = block.attn.qkv, block.mlp
    maps = ([qkv.q, qkv.k, qkv.v], [block.attn.o], [mlp.up], [mlp.down])
    return [[plain(m) for m in together] for together in maps]


def _lanes(block: Block, kind: Kind) -> int:
    return sum(
        library.packed_lanes(kind, len(maps) * len(maps[0].weight), maps[0].weight.shape[1])
        for maps in _maps(block)
    )


def _bias(maps: list[Linear]) -> torch.Tensor:
    """(out,) of all; zeros where one has no bias."""
    biases = [m.weight.new_zeros(len(m.weight)) if m.bias is None else m.bias for m in maps]
    return biases[0] if len(biases) == 1 else torch.cat(biases)


def _starts(sequences: Sequences) -> "Array[c_int64]":
    lengths = sequences.lengths
    return (c_int64 * (len(lengths) + 1))(0, *accumulate(lengths))


def _pointer(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
