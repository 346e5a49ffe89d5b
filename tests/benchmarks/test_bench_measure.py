"""The harness measures fairly: turns are taken, statistics are right, noise is admitted."""

import gc
import os
import threading

import pytest

from benchmarks.claims import Claim, judge, noisy_cells
from benchmarks.measure import interleave, one_core, summarise, timed

OURS, THEIRS = ("ours", "time"), ("theirs", "time")


def test_each_round_runs_every_contestant_once() -> None:
    calls: list[str] = []
    contestants = {name: (lambda name=name: calls.append(name)) for name in "ABC"}
    interleave(contestants, rounds=20, warmup=2)
    rounds = ["".join(calls[i : i + 3]) for i in range(0, len(calls), 3)]
    assert len(rounds) == 22
    assert all(sorted(turn) == list("ABC") for turn in rounds)
    assert len(set(rounds)) > 3  # no contestant always follows the same other


def test_order_is_the_same_for_the_same_seed() -> None:
    def order(seed: int) -> list[str]:
        calls: list[str] = []
        contestants = {name: (lambda name=name: calls.append(name)) for name in "ABC"}
        interleave(contestants, rounds=9, seed=seed)
        return calls

    assert order(1) == order(1) != order(2)


def test_samples_of_one_round_share_an_index_and_warmup_is_dropped() -> None:
    turn = {"A": 0, "B": 0}

    def count(name: str) -> int:
        turn[name] += 1
        return turn[name]

    samples = interleave({n: (lambda n=n: count(n)) for n in "AB"}, rounds=3, warmup=2)
    assert samples == {"A": [3, 4, 5], "B": [3, 4, 5]}


def test_collector_is_restored_when_a_contestant_fails() -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        interleave({"A": fail}, rounds=1)
    assert gc.get_freeze_count() == 0


def test_one_core_holds_every_thread_and_lets_go() -> None:
    before = os.sched_getaffinity(0)
    stop = threading.Event()
    worker = threading.Thread(target=stop.wait)
    worker.start()
    try:
        with one_core():
            assert len(os.sched_getaffinity(0)) == 1
            assert os.sched_getaffinity(worker.native_id) == os.sched_getaffinity(0)
        assert os.sched_getaffinity(worker.native_id) == before
    finally:
        stop.set()
        worker.join()
    assert os.sched_getaffinity(0) == before


def test_timed_leaves_out_the_time_to_free_the_result() -> None:
    now = [0.0]

    class Slow:
        def __del__(self) -> None:
            now[0] += 100

    def action() -> Slow:
        now[0] += 2
        return Slow()

    assert timed(action, clock=lambda: now[0]) == 2
    assert now[0] == 102


def test_figure_has_median_quartiles_and_extremes() -> None:
    figure = summarise([5.0, 1.0, 2.0, 4.0, 3.0], "ms")
    assert (figure.smallest, figure.low, figure.median) == (1, 2, 3)
    assert (figure.high, figure.largest, figure.runs) == (4, 5, 5)
    assert figure.spread == pytest.approx(2 / 3)


def test_one_sample_has_no_spread() -> None:
    figure = summarise([7], "bytes")
    assert (figure.low, figure.median, figure.high, figure.spread) == (7, 7, 7, 0)


def test_ratio_is_taken_within_each_round() -> None:
    # The machine slows down by ten in the second round; both contestants feel it alike.
    samples = {OURS: [1.0, 10.0, 1.0], THEIRS: [2.0, 20.0, 2.0]}
    verdict = judge(Claim("half", OURS, THEIRS, target=0.6), samples)
    assert verdict.value.median == 0.5
    assert verdict.value.spread == 0
    assert verdict.met
    assert not verdict.noisy


def test_missed_target_is_not_met() -> None:
    verdict = judge(Claim("slow", OURS, THEIRS, target=1.5), {OURS: [1.6], THEIRS: [1.0]})
    assert verdict.met is False


def test_claim_without_target_has_no_verdict_and_claim_without_baseline_no_ratio() -> None:
    samples = {OURS: [3.0], THEIRS: [4.0]}
    assert judge(Claim("stated", OURS, THEIRS), samples).met is None
    own = judge(Claim("own", OURS, target=2.0, unit="s"), samples)
    assert (own.value.median, own.value.unit, own.met) == (3.0, "s", False)


@pytest.mark.parametrize(("target", "noisy"), [(1.05, True), (1.5, False)])
def test_spread_beyond_the_margin_is_noisy(target: float, noisy: bool) -> None:
    samples = {OURS: [0.90, 0.95, 1.0, 1.05, 1.10], THEIRS: [1.0] * 5}
    verdict = judge(Claim("close", OURS, THEIRS, target), samples)
    assert verdict.met
    assert verdict.noisy is noisy
    figures = {cell: summarise(values, "ms") for cell, values in samples.items()}
    assert noisy_cells([verdict], figures) == ({OURS} if noisy else set())


def test_without_a_target_the_margin_is_the_distance_from_one() -> None:
    samples = {OURS: [0.8, 0.9, 1.0, 1.1, 1.2], THEIRS: [1.0] * 5}
    assert judge(Claim("even", OURS, THEIRS), samples).noisy
