"""Short passes on weights as they are stored, and when these are packed."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from llm_compression.inference import lazy_core
from llm_compression.inference.lazy_core import LazyCore
from llm_compression.inference.native_core import FEW, pack
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.trial import usable
from llm_compression.native.library import Kind, Library
from tests.inference.test_native_core import random_core


@pytest.fixture
def functions() -> Library:
    found = usable(Kind.FLOAT32)
    if found is None:
        pytest.skip("no compiled core here")
    return found


@pytest.fixture
def packings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each time that a core was packed."""
    counted: list[int] = []
    monkeypatch.setattr(lazy_core, "pack", lambda *given: counted.append(1) or pack(*given))
    return counted


def test_a_few_rows_are_run_in_place_and_more_are_packed(
    functions: Library, packings: list[int]
) -> None:
    released: list[int] = []
    core = LazyCore(random_core(), functions, lambda: released.append(1))
    few = core(torch.ones(FEW, 48), Sequences.of([FEW]))
    assert (packings, released) == ([], [])
    many = core(torch.ones(2 * FEW, 48), Sequences.of([FEW, FEW]))
    assert (len(packings), len(released)) == (1, 3)
    assert torch.equal(many, torch.cat([few, few]))
    assert torch.equal(core(torch.ones(FEW, 48), Sequences.of([FEW])), few)
    assert len(packings) == 1


def test_many_short_passes_are_worth_it(functions: Library, packings: list[int]) -> None:
    core, hidden = LazyCore(random_core(), functions, lambda: None), torch.ones(3, 48)
    found = [core(hidden, Sequences.of([3])) for _ in range(40)]
    assert len(packings) == 1
    assert all(torch.equal(one, found[0]) for one in found)


def test_rows_that_are_wanted_more_often_than_there_are_any(functions: Library) -> None:
    core, hidden = LazyCore(random_core(), functions, lambda: None), torch.randn(5, 48)
    rows = torch.arange(200) % 5
    every = core(hidden, Sequences.of([5]))
    assert torch.equal(core(hidden, Sequences.of([5]), None, rows), every[rows])


def test_threads_pack_once(functions: Library, packings: list[int]) -> None:
    core, sizes = LazyCore(random_core(), functions, lambda: None), [3, 50, 20, 90, 1, 40] * 5
    hidden = torch.randn(90, 48)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda n: core(hidden[:n], Sequences.of([n])), sizes))
    assert len(packings) == 1
    again = pack(random_core(), Kind.FLOAT32, functions)
    for size, states in zip(sizes, found, strict=True):
        assert torch.equal(states, again(hidden[:size], Sequences.of([size])))


def test_long_sums_are_the_same_in_place_and_packed(functions: Library) -> None:
    few, of = torch.randn(FEW, 48), Sequences.of([FEW])
    in_place = LazyCore(random_core(inner=1100), functions, lambda: None)(few, of)
    assert torch.equal(in_place, pack(random_core(inner=1100), Kind.FLOAT32, functions)(few, of))
