"""Length-sorted batches: texts of one length stand together, which attention takes as one."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from llm_compression.errors import InputError
from llm_compression.multimodal.inputs import check_flags
from llm_compression.multimodal.text.tokenizer import Tokens

if TYPE_CHECKING:  # the memory system searches without torch
    import torch

B = TypeVar("B")
# The states of so many tokens stay in a processor's caches from one layer to the next, and are
# enough that its matrix products run at full rate.
_CPU_TOKENS = 1024
# A GPU's products want a tile of about 128 rows and columns of the result for each of its hundred
# or more units, which a hidden size of 384 gives from 6,000 tokens on; more of them pay for
# starting operators. The widest states are then 256 MB (4,096 float32). Not measured yet.
_GPU_TOKENS = 16_384
_LONG_WORK = 1000  # texts from which a terminal sees a progress bar unasked


def batch_tokens(device: "torch.device") -> int:
    """How many tokens a batch has at most for ``device`` to run at its best."""
    return _CPU_TOKENS if device.type == "cpu" else _GPU_TOKENS


def batches(
    tokens: Sequence[Tokens], batch_size: int | None, most: int, at_once: int = 1
) -> list[list[int]]:
    """Indices of ``tokens``, longest first, cut where about ``most`` tokens are together.

    The parts are nearly equal, and so many that ``at_once`` of them at a time come out even, where
    that leaves each at least half of ``most``. A text that is longer runs alone, and at most
    ``batch_size`` run together.

    Raises:
        InputError: a text has no tokens at all.
    """
    for i, text in enumerate(tokens):
        if not text.ids:
            raise InputError(f"input {i} gives no tokens, so it has no embedding; leave it out")
    order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i].ids))
    lengths = [len(tokens[i].ids) for i in order]
    parts = cut(lengths, batch_size, most) if batch_size else evenly(lengths, most, at_once)
    return [order[part] for part in parts]


def evenly(lengths: Sequence[int], most: int, at_once: int) -> list[slice]:
    """Neighbours that together have nearly the same number of tokens, about ``most`` or fewer."""
    total = sum(lengths)
    count = -(-total // most)
    even = -(-count // at_once) * at_once
    count = even if 2 * total >= even * most else count
    middles = np.cumsum(lengths) - np.array(lengths) / 2
    inner = np.searchsorted(middles, total * np.arange(1, count) / count).tolist()
    edges = sorted({0, *inner, len(lengths)})
    return [slice(start, stop) for start, stop in pairwise(edges)]


def cut(lengths: Sequence[int], batch_size: int | None, most: int) -> list[slice]:
    """Neighbours that together have ``most`` tokens, or one that has more.

    At most ``batch_size`` of them, if that is given.
    """
    found: list[slice] = []
    start = total = 0
    for i, length in enumerate(lengths):
        full = i - start == batch_size or total + length > most
        if full and i > start:
            found.append(slice(start, i))
            start, total = i, 0
        total += length
    return [*found, slice(start, len(lengths))] if lengths else []


def may_show(show: bool | None) -> bool:  # noqa: FBT001
    """Whether `with_progress` might show a bar, so that its total is worth counting.

    Raises:
        InputError: ``show`` is neither None nor a flag.
    """
    if show is None:
        return sys.stderr.isatty()
    check_flags(show_progress_bar=show)
    return show


def with_progress(
    work: Iterable[B],
    total: int,
    unit: str,
    *,
    show: bool | None,
    size: Callable[[B], int] = len,  # type: ignore[assignment]
    long: int = _LONG_WORK,
    what: str = "embedding",
) -> Iterator[B]:
    """``work`` batch by batch, with a bar on stderr; ``show`` None means for ``long`` work.

    ``size`` says how much of the ``total`` a batch is.
    """
    if not may_show(show) or (show is None and total < long):
        yield from work
        return
    from tqdm.auto import tqdm  # comes with huggingface-hub

    with tqdm(total=total, unit=unit, desc=what) as bar:
        for batch in work:
            yield batch
            bar.update(size(batch))
