"""The floor of a workload: its products alone, each by the fastest way that the package knows.

Linear maps and convolutions by packed weights, QKᵀ and AV as batched products, at the shapes and
in the type of the workload, one after another on inputs made before; nothing stands between them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.runtimes.works import Form, Run, Work, inputs
from llm_compression import TextEncoder, WeightLoader
from llm_compression.inference import kernels
from llm_compression.inference.compute import CPU
from llm_compression.inference.products import fast_products
from llm_compression.inference.sequences import Group, Sequences
from llm_compression.multimodal.batching import batch_tokens, cut
from llm_compression.spec.towers import AudioSpec, Tower, VisionSpec

_CHUNKS = (128, 256, 1 << 20)  # queries whose scores are made at once
_TRIES = 3
_MEL_WIDTH = 3  # frames that a convolution of Whisper sees
Step = Callable[[], object]
Batch = Sequence[Group]


@dataclass(frozen=True)
class LinearProduct:
    """Rows times a weight; those of blocks are the ones that int8 rounds."""

    rows: int
    inputs: int
    outputs: int
    of_block: bool = True

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.inputs * self.outputs


@dataclass(frozen=True)
class AttentionProducts:
    """QKᵀ and AV of ``heads`` heads, those of all sequences of one length."""

    heads: int
    tokens: int
    width: int

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 4 * self.heads * self.tokens**2 * self.width


Product = LinearProduct | AttentionProducts


def products(tower: Tower, batch: Batch) -> Iterator[Product]:
    """Every product of one pass of a batch, in order."""
    count, hidden = sum(group.count for group in batch), tower.block.hidden_size
    if isinstance(tower, VisionSpec):
        values = tower.num_channels * tower.patch_size**2
        yield LinearProduct(count * tower.num_patches, values, hidden, of_block=False)
    if isinstance(tower, AudioSpec):
        positions, mel = count * tower.max_source_positions, tower.num_mel_bins
        yield LinearProduct(2 * positions, _MEL_WIDTH * mel, hidden, of_block=False)
        yield LinearProduct(positions, _MEL_WIDTH * hidden, hidden, of_block=False)
    for _ in range(tower.num_layers):
        yield from _block(tower, batch)
    if not isinstance(tower, AudioSpec) and tower.projection_dim:
        yield LinearProduct(count, hidden, tower.projection_dim, of_block=False)


def _block(tower: Tower, batch: Batch) -> Iterator[Product]:
    spec, rows = tower.block, sum(group.rows for group in batch)
    yield LinearProduct(rows, spec.hidden_size, 3 * spec.hidden_size)
    for group in batch:
        yield AttentionProducts(group.count * spec.num_heads, group.tokens, spec.head_size)
    yield LinearProduct(rows, spec.hidden_size, spec.hidden_size)
    yield LinearProduct(rows, spec.hidden_size, spec.intermediate_size)
    yield LinearProduct(rows, spec.intermediate_size, spec.hidden_size)


def text_batches(lengths: Sequence[int]) -> list[Batch]:
    """Texts of so many tokens, in batches that are as large as the package makes them."""
    ordered = sorted(lengths, reverse=True)
    parts = cut(ordered, None, batch_tokens(CPU))
    return [Sequences.of(ordered[part]).groups for part in parts]


def whole_batch(tower: VisionSpec | AudioSpec, count: int) -> list[Batch]:
    """So many pictures or windows of sound at once."""
    if isinstance(tower, VisionSpec):
        return [[Group(count, tower.num_patches + 1)]]
    return [[Group(count, tower.max_source_positions)]]


class Floor:
    """The products of all batches of a workload, made ready; calling it runs them once."""

    @torch.inference_mode()
    def __init__(self, tower: Tower, batches: Sequence[Batch], kind: str) -> None:
        self._kind = kind
        self._dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
        self._given: dict[tuple[int, int, bool], torch.Tensor] = {}
        self._weights: list[Callable[[torch.Tensor], torch.Tensor]] = []
        self._attentions: dict[AttentionProducts, Step] = {}
        self._steps = [step for batch in batches for step in self._steps_of(tower, batch)]

    @torch.inference_mode()
    def __call__(self) -> None:
        """Run them."""
        for step in self._steps:
            step()

    def _steps_of(self, tower: Tower, batch: Batch) -> Iterator[Step]:
        """Batches share weights, and the layers of a batch do not, as in a model."""
        place = 0
        for product in products(tower, batch):
            if isinstance(product, AttentionProducts):
                yield self._attention(product)
                continue
            if place == len(self._weights):
                self._weights.append(self._linear(product))
            yield partial(self._weights[place], self._input(product))
            place += 1

    def _rounds(self, product: LinearProduct) -> bool:
        return self._kind == "int8" and product.of_block and kernels.can_int8()

    def _input(self, product: LinearProduct) -> torch.Tensor:
        rounds = self._rounds(product)
        key = (product.rows, product.inputs, rounds)
        if key not in self._given:
            shape = key[:2]
            codes = torch.randint(0, 256, shape, dtype=torch.uint8)
            self._given[key] = codes if rounds else torch.randn(shape).to(self._dtype)
        return self._given[key]

    def _linear(self, product: LinearProduct) -> Callable[[torch.Tensor], torch.Tensor]:
        shape = (product.outputs, product.inputs)
        if self._rounds(product):
            whole = torch.randint(-127, 128, shape, dtype=torch.int8)
            packed, scales = kernels.pack_int8(whole), torch.ones(product.outputs)
            return lambda codes: kernels.int8_linear(codes, packed, scales)
        weight = torch.randn(shape).to(self._dtype)
        if not kernels.can_pack(self._dtype):
            return lambda x: F.linear(x, weight)
        packed = kernels.pack_weight(weight)
        return lambda x: kernels.packed_linear(x, packed, None)

    def _attention(self, product: AttentionProducts) -> Step:
        """The way that is the fastest of a few tries."""
        if product not in self._attentions:
            shape = (3, product.heads, product.tokens, product.width)
            parts = torch.randn(shape).to(self._dtype).unbind(0)
            exact = self._dtype is torch.float32
            ways = [
                partial(_attend, *parts, chunk=chunk, fast=fast)
                for chunk in sorted({min(chunk, product.tokens) for chunk in _CHUNKS})
                for fast in ((False, True) if exact else (False,))
            ]
            self._attentions[product] = min(ways, key=_seconds)
        return self._attentions[product]


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, chunk: int, fast: bool) -> None:
    """(heads, T, d) each: the scores of a chunk of queries, and what they make of the values."""
    with fast_products() if fast else nullcontext():
        for part in torch.split(q, chunk, dim=1):
            torch.bmm(torch.bmm(part, k.transpose(1, 2)), v)


def _seconds(step: Step) -> float:
    step()  # which also lays out what the way needs
    return min(_timed(step) for _ in range(_TRIES))


def _timed(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def open_model(work: Work, kind: str, folder: Path) -> Run:
    """The products of a workload; they have no embeddings."""
    floor = Floor(*_shapes(work, folder), kind)

    def run(_given: object) -> np.ndarray:
        floor()
        return np.empty((0, 0))

    return run


def _shapes(work: Work, folder: Path) -> tuple[Tower, list[Batch]]:
    path = folder / f"{work.model}.parquet"
    spec = WeightLoader(path).spec
    if tower := spec.vision or spec.audio:
        return tower, whole_batch(tower, work.count)
    assert spec.text is not None
    if work.form is Form.CAPTIONS:
        ids = TextEncoder(path).token_ids(inputs(work, folder))
        return spec.text, text_batches([len(text) for text in ids])
    arriving = inputs(work, folder) if work.form is Form.TRAFFIC else [inputs(work, folder)]
    lengths = [[len(text) for text in batch] for batch in arriving]
    return spec.text, [batch for one in lengths for batch in text_batches(one)]
