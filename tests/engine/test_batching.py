"""Batches are sorted by length, and every text is in exactly one."""

import random

import pytest
import torch

from llm_compression.errors import InputError
from llm_compression.multimodal.batching import batch_tokens, batches, cut, with_progress
from llm_compression.multimodal.text.tokenizer import Tokens


def tokens(*lengths: int) -> list[Tokens]:
    return [Tokens([1] * length, length) for length in lengths]


def test_like_lengths_run_together_longest_first() -> None:
    assert batches(tokens(3, 9, 4, 9, 1), 2, 1024) == [[1, 3], [2, 0], [4]]


def test_a_batch_holds_about_so_many_tokens() -> None:
    """As many texts as the budget has room for, one that is longer alone."""
    assert batches(tokens(300, 300, 300, 300, 100), None, 1024) == [[0, 1], [2, 3, 4]]
    assert batches(tokens(512, 512, 1), None, 1024) == [[0], [1, 2]]
    assert batches(tokens(2000, 1024, 1), None, 1024) == [[0], [1, 2]]
    assert batches(tokens(2000, 1024, 1), None, 4000) == [[0, 1, 2]]
    assert batches(tokens(*[8] * 128), None, 1024) == [list(range(128))]
    assert len(batches(tokens(*[8] * 128), 50, 1024)) == 3


def test_batches_are_as_many_as_cores_share_evenly() -> None:
    def sizes(lengths: list[int], at_once: int) -> list[int]:
        return [len(batch) for batch in batches(tokens(*lengths), None, 1024, at_once)]

    assert sizes([200] * 32, 1) == [5, 4, 5, 4, 5, 4, 5]
    assert sizes([200] * 32, 2) == [4] * 8
    assert sizes([32] * 32, 2) == [16, 16]
    assert sizes([32] * 31, 2) == [31]  # halves of less than half a batch would not pay
    assert sizes([200] * 32, 16) == [5, 4, 5, 4, 5, 4, 5]
    assert sizes([200] * 64, 16) == [4] * 16
    # a user's size of batches stays
    assert [len(batch) for batch in batches(tokens(*[200] * 32), 3, 1024, 2)] == [3] * 10 + [2]


@pytest.mark.parametrize("at_once", [1, 2, 3, 16])
def test_every_text_is_in_one_batch(at_once: int) -> None:
    rng = random.Random(0)
    for _ in range(200):
        lengths = [rng.choice([1, 3, 17, 200, 512, 3000]) for _ in range(rng.randrange(1, 60))]
        found = batches(tokens(*lengths), None, 1024, at_once)
        ordered = [row for batch in found for row in batch]
        assert sorted(ordered) == list(range(len(lengths)))
        assert [lengths[row] for row in ordered] == sorted(lengths, reverse=True)
        assert all(found)
        for batch in found:
            assert len(batch) == 1 or sum(lengths[row] for row in batch) <= 1024 + max(lengths)


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
