"""How rows divide into sequences, worked by hand."""

import pytest
import torch

from llm_compression.inference.sequences import Group, Sequences

ROWS = torch.arange(12.0).view(6, 2)
RAGGED = Sequences.of([1, 1, 3, 1])


def test_equal_lengths_that_stand_together_are_one_group() -> None:
    assert RAGGED.groups == (Group(2, 1), Group(1, 3), Group(1, 1))
    assert [group.rows for group in RAGGED.groups] == [2, 3, 1]
    assert RAGGED.lengths == [1, 1, 3, 1]
    assert Sequences.dense(2, 3).groups == (Group(2, 3),)


def test_rows_of_each_sequence_and_group_are_views() -> None:
    split = RAGGED.split(ROWS)
    assert [part.tolist() for part in split] == [
        [[0, 1]], [[2, 3]], [[4, 5], [6, 7], [8, 9]], [[10, 11]],
    ]  # fmt: skip
    grouped = RAGGED.grouped(ROWS)
    assert [tuple(part.shape) for part in grouped] == [(2, 1, 2), (1, 3, 2), (1, 1, 2)]
    assert Sequences.dense(2, 3).grouped(ROWS)[0].tolist() == ROWS.view(2, 3, 2).tolist()
    start = ROWS.data_ptr()
    assert all(start <= part.data_ptr() < start + ROWS.nbytes for part in [*split, *grouped])


def test_padding_is_zeros_behind_the_shorter_ones() -> None:
    padded = Sequences.of([1, 3]).padded(ROWS[:4])
    assert padded.tolist() == [[[0, 1], [0, 0], [0, 0]], [[2, 3], [4, 5], [6, 7]]]
    assert Sequences.dense(3, 2).padded(ROWS).tolist() == ROWS.view(3, 2, 2).tolist()


@pytest.mark.parametrize("sequences", [RAGGED, Sequences.dense(2, 3)])
def test_positions_start_again_with_each_sequence(sequences: Sequences) -> None:
    wanted = [i for length in sequences.lengths for i in range(length)]
    assert sequences.positions(torch.device("cpu")).tolist() == wanted


def test_what_is_real_is_counted_within_its_sequence() -> None:
    real = torch.tensor([1, 0, 1, 0, 1, 1])
    assert RAGGED.counted(real).tolist() == [1, 0, 1, 1, 2, 1]
    assert Sequences.dense(2, 3).counted(real).tolist() == [1, 1, 2, 0, 1, 2]
