"""Length-sorted batches: texts of like length run together, so that little is padding."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from llm_compression.errors import InputError
from llm_compression.multimodal.tokenizer import Tokens

T = TypeVar("T")
_LONG_WORK = 1000  # texts from which a terminal sees a progress bar unasked


def batches(tokens: Sequence[Tokens], batch_size: int) -> list[list[int]]:
    """Indices of ``tokens``, longest first, ``batch_size`` at a time.

    Raises:
        InputError: a text has no tokens at all.
    """
    for i, text in enumerate(tokens):
        if not text.ids:
            raise InputError(f"input {i} gives no tokens, so it has no embedding; leave it out")
    order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i].ids))
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def with_progress(
    work: Iterable[list[T]], total: int, unit: str, *, show: bool | None
) -> Iterator[list[T]]:
    """``work`` batch by batch, with a bar on stderr; ``show`` None means for long work."""
    wanted = sys.stderr.isatty() and total >= _LONG_WORK if show is None else show
    if not wanted:
        yield from work
        return
    from tqdm.auto import tqdm  # comes with huggingface-hub

    with tqdm(total=total, unit=unit, desc="embedding") as bar:
        for batch in work:
            yield batch
            bar.update(len(batch))
