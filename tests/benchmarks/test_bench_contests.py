"""What is claimed beside whom, texts of many lengths, and the floor's products."""

import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.claims import Cell, judge
from benchmarks.runtimes import run
from benchmarks.runtimes.contests import cell, claims, contestants
from benchmarks.runtimes.elsewhere import Elsewhere
from benchmarks.runtimes.feeding import feed, padded
from benchmarks.runtimes.floor import (
    AttentionProducts,
    Floor,
    LinearProduct,
    products,
    text_batches,
    whole_batch,
)
from benchmarks.runtimes.works import CAPTIONS, OPENING, TRAFFIC, WORKS, arrivals
from llm_compression import WeightLoader
from llm_compression.inference import kernels
from llm_compression.inference.sequences import Group

FIXED = WORKS["MiniLM 32x32"]


def samples(work: object, **milliseconds: float) -> dict[Cell, list[float]]:
    """Three rounds of everybody, those that are named at their own times."""
    found = {}
    for name, kind in contestants(work):
        time = milliseconds.get(name.replace("sentence_transformers-", "st_"), 2.0)
        found[cell((name, kind))] = [time] * 3
    return found


def test_floor_is_the_products_of_the_spec(tiny_table: Path) -> None:
    text = WeightLoader(tiny_table).spec.text
    found = list(products(text, [Group(3, 5), Group(1, 2)]))
    rows, hidden, inner, layers = 17, 32, 64, 2
    linear = 2 * rows * (4 * hidden**2 + 2 * hidden * inner)
    attention = 4 * hidden * (3 * 5**2 + 1 * 2**2)
    assert sum(product.flops for product in found) == layers * (linear + attention)
    assert sum(isinstance(product, AttentionProducts) for product in found) == layers * 2
    assert all(p.of_block for p in found if isinstance(p, LinearProduct))


def test_floor_of_pictures_has_patches_and_projection(tiny_clip_table: Path) -> None:
    vision = WeightLoader(tiny_clip_table).spec.vision
    (batch,) = whole_batch(vision, 2)
    first, *middle, last = products(vision, batch)
    assert first == LinearProduct(2 * 16, 3 * 8 * 8, 32, of_block=False)
    assert last == LinearProduct(2, 32, 24, of_block=False)
    assert {p.tokens for p in middle if isinstance(p, AttentionProducts)} == {17}


def test_floor_of_sounds_has_convolutions(tiny_whisper_table: Path) -> None:
    audio = WeightLoader(tiny_whisper_table).spec.audio
    (batch,) = whole_batch(audio, 3)
    first, second, *_ = products(audio, batch)
    positions, hidden = audio.max_source_positions, audio.block.hidden_size
    assert first == LinearProduct(3 * 2 * positions, 3 * audio.num_mel_bins, hidden, of_block=False)
    assert second == LinearProduct(3 * positions, 3 * hidden, hidden, of_block=False)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_floor_runs(kind: str, tiny_table: Path) -> None:
    if kind == "bfloat16" and not kernels.can_pack(torch.bfloat16):
        pytest.skip("this processor has no products of bfloat16")
    text = WeightLoader(tiny_table).spec.text
    floor = Floor(text, [*text_batches([5, 9, 5]), *text_batches([3])], kind)
    assert len(floor._steps) == 2 * (4 + 2) + 2 * (4 + 1)
    assert len(floor._weights) == 2 * 4  # which batches share
    floor()


def test_texts_of_a_floor_are_batched_as_by_the_package() -> None:
    found = [list(batch) for batch in text_batches([300, 8, 500, 8, 500])]
    assert found == [[Group(2, 500)], [Group(1, 300), Group(2, 8)]]


def test_traffic_is_log_uniform_and_the_same_each_time() -> None:
    batches = arrivals(40)
    assert [len(batch) for batch in batches] == [32] * 40
    lengths = np.array([len(ids) for batch in batches for ids in batch])
    assert lengths.min() == 8
    assert 250 < lengths.max() <= 256
    doublings = np.histogram(np.log2(lengths), bins=[3, 4, 5, 6, 7, 8.01])[0]
    assert doublings.min() > 0.8 * len(lengths) / 5
    assert batches == arrivals(40)
    assert all((ids[0], ids[-1]) == (101, 102) for ids in batches[0])


def test_padding_is_masked() -> None:
    ids, mask = padded([[1, 2, 3], [4]])
    assert ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_traffic_is_fed_as_it_arrives_and_captions_by_length(minilm: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def run(given: list[np.ndarray]) -> np.ndarray:
        seen.append(given[0].shape)
        return given[1].sum(1, keepdims=True)  # each text's own length

    found = feed(TRAFFIC, tmp_path, run)([[[1], [2, 3]], [[4, 5, 6]]])
    assert (seen, found.ravel().tolist()) == ([(2, 2), (1, 3)], [1, 2, 3])
    seen.clear()
    (tmp_path / "minilm").symlink_to(minilm)
    found = feed(CAPTIONS, tmp_path, run)(["a cat", *(["a"] * 40), "a cat sits on " * 100])
    assert seen == [(32, 256), (10, 3)]
    assert found.ravel().tolist() == [4, *([3] * 40), 256]


def test_summary_is_beside_the_fastest_by_median() -> None:
    found = claims(FIXED, samples(FIXED, openvino=1.5, onnxruntime=1.2, transformers=9.0))
    said = {claim.text: claim.target for claim in found}
    assert said["llm_compression / best other (onnxruntime), float32"] == 1.0
    assert said["llm_compression / best other (openvino), bfloat16"] == 1.0
    assert said["llm_compression / floor, float32"] == 1.15
    assert said["llm_compression / floor, int8"] is None
    assert said["llm_compression, int8 / llm_compression, bfloat16"] == 1.0
    assert len(found) == len(said) == 10


def test_one_short_text_has_a_floor_without_a_target() -> None:
    work = WORKS["MiniLM 1x16"]
    (floor,) = [c for c in claims(work, samples(work)) if c.text.endswith("floor, float32")]
    assert floor.target is None


def test_captions_are_beside_the_best_backend_that_ran() -> None:
    everybody = samples(CAPTIONS, st_torch=8.0, st_onnx=4.0, st_openvino=6.0)
    said = {claim.text: claim for claim in claims(CAPTIONS, everybody)}
    best = said[
        "llm_compression / best sentence-transformers (sentence-transformers, onnx), float32"
    ]
    assert judge(best, everybody).value.median == 0.5
    assert best.target == 0.65
    assert said["llm_compression / openvino, float32"].target == 0.97
    assert said["llm_compression / floor, float32"].target == 1.12
    ours_alone = {c: v for c, v in everybody.items() if not c[0].startswith("sentence")}
    assert len(claims(CAPTIONS, ours_alone)) == len(said) - 2


@pytest.mark.parametrize(
    ("work", "text", "target"),
    [
        (TRAFFIC, "llm_compression / openvino, float32", 0.45),
        (TRAFFIC, "llm_compression / onnxruntime, int8", 1.0),
        (OPENING, "llm_compression / transformers, float32", 0.4),
    ],
    ids=["traffic", "traffic in int8", "opening"],
)
def test_targets(work: object, text: str, target: float) -> None:
    assert {c.text: c.target for c in claims(work, samples(work))}[text] == target


def test_contestants_run_once_in_the_order_of_types() -> None:
    for work in WORKS.values():
        found = contestants(work)
        assert len(found) == len(set(found))
        assert found[0] == ("ours", "float32")
        assert [kind for kind, _ in groupby(kind for _, kind in found)] == list(
            dict.fromkeys(kind for _, kind in found)
        )


def test_environment_that_is_absent_or_lacks_a_library_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run._elsewhere(tmp_path / "python") is None
    assert capsys.readouterr().err == (
        "sentence-transformers' backends are left out: "
        f"there is no {tmp_path / 'python'}; `make venv-st` makes one\n"
    )
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    (tmp_path / "python").chmod(0o755)
    found = Elsewhere.find(tmp_path / "python")
    assert isinstance(found, str)
    assert "lacks a library" in found
