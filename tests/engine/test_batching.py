"""Batches are sorted by length, and every text is in exactly one."""

import pytest
import torch

from llm_compression.errors import InputError
from llm_compression.multimodal.batching import batch_tokens, batches, cut, with_progress
from llm_compression.multimodal.text.tokenizer import Tokens


def tokens(*lengths: int) -> list[Tokens]:
    return [Tokens([1] * length, length) for length in lengths]


def test_like_lengths_run_together_longest_first() -> None:
    assert batches(tokens(3, 9, 4, 9, 1), 2, 1024) == [[1, 3], [2, 0], [4]]


def test_a_batch_holds_so_many_tokens() -> None:
    """As many texts as the budget has room for, one that is longer alone."""
    assert batches(tokens(300, 300, 300, 300, 100), None, 1024) == [[0, 1, 2], [3, 4]]
    assert batches(tokens(512, 512, 1), None, 1024) == [[0, 1], [2]]
    assert batches(tokens(2000, 1024, 1), None, 1024) == [[0], [1], [2]]
    assert batches(tokens(2000, 1024, 1), None, 4000) == [[0, 1, 2]]
    assert batches(tokens(*[8] * 128), None, 1024) == [list(range(128))]
    assert len(batches(tokens(*[8] * 128), 50, 1024)) == 3


def test_a_gpu_takes_more_at_once() -> None:
    cpu, gpu = (batch_tokens(torch.device(name)) for name in ("cpu", "cuda:1"))
    assert (cpu, gpu) == (1024, 16_384)
    windows = [1500] * 12  # of Whisper, of which each alone is more than the CPU's budget
    assert [part.stop - part.start for part in cut(windows, 4, cpu)] == [1] * 12
    assert [part.stop - part.start for part in cut(windows, 4, gpu)] == [4, 4, 4]
    assert [part.stop - part.start for part in cut(windows, None, gpu)] == [10, 2]


def test_no_texts_make_no_batches() -> None:
    assert batches([], 8, 1024) == []


def test_a_text_without_tokens_has_no_embedding() -> None:
    with pytest.raises(InputError, match="input 1 gives no tokens"):
        batches(tokens(2, 0), 8, 1024)


def test_progress_counts_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress([[1, 2], [3]], 3, "text", show=True)) == [[1, 2], [3]]
    assert "3/3" in capsys.readouterr().err
    assert list(with_progress([[1]], 1, "text", show=False)) == [[1]]
    assert capsys.readouterr().err == ""
