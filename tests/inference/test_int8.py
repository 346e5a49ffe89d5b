"""Linear maps in 8 bits: how far they are off, and that no row depends on another."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from llm_compression import AudioEncoder, TextEncoder, VisionEncoder
from llm_compression.inference import kernels, trial
from llm_compression.inference.int8 import to_int8
from llm_compression.inference.linear import Linear
from llm_compression.native.library import Kind
from llm_compression.spec.block import Activation
from tests.clip_checkpoints import pictures
from tests.whisper_checkpoints import noise, tone

TEXTS = ["the cat sits on a mat", "red", "a dog runs , unable . " * 3, "blue", "a cat"]


@pytest.fixture(params=["compiled", "kernel", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """By the compiled core, by torch's kernel, and by plain operators where it has none."""
    kernels.can_int8.cache_clear()
    if request.param == "compiled" and trial.usable(Kind.INT8) is None:
        pytest.skip("no compiled core on this machine")
    if request.param == "plain":
        monkeypatch.setattr(kernels.torch, "ops", SimpleNamespace())
        assert not kernels.can_int8()
        monkeypatch.undo()
    elif not kernels.can_int8():
        pytest.skip("this torch has no int8 linear maps on this processor")
    if request.param != "compiled":
        monkeypatch.setattr(trial, "usable", lambda _kind: None)
    yield request.param
    kernels.can_int8.cache_clear()


def linear(activation: Activation | None = None, *, bias: bool = True) -> Linear:
    torch.manual_seed(0)
    weight = torch.randn(48, 96) * torch.logspace(-2, 1, 48)[:, None]  # channels of unlike size
    return Linear(weight, torch.randn(48) if bias else None, activation)


def most(of: Linear, x: torch.Tensor) -> torch.Tensor:
    """What half a step of every factor can add up to, and what float32 itself rounds."""
    step = (x.amax(1) - x.amin(1))[:, None] / 255
    steps = of.weight.abs().amax(1) / 127
    weights = of.weight.abs().sum(1) + x.shape[1] * steps / 2
    return (
        step / 2 * weights
        + steps / 2 * x.abs().sum(1)[:, None]
        + 1e-5 * (1 + x.abs() @ of.weight.abs().T)
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [None, Activation.GELU, Activation.QUICK_GELU])
def test_is_near_the_plain_map(way: str, activation: Activation | None, bias: bool) -> None:
    plain = linear(activation, bias=bias)
    x = torch.randn(40, 96) * torch.logspace(-3, 3, 40)[:, None]  # tokens of unlike size
    residual = torch.randn(40, 48)
    with torch.inference_mode():
        wanted, got = plain(x), to_int8(plain)(x)
        summed = to_int8(plain)(x, residual)
    errors = (got - wanted).abs() / most(plain, x)
    assert errors.max() < 1.13  # where GELU is steepest
    assert 0.001 < errors.mean() < 0.15
    torch.testing.assert_close(summed, got + residual)


def test_both_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.can_int8.cache_clear()
    if not kernels.can_int8():
        pytest.skip("this torch has no int8 linear maps on this processor")
    x = torch.randn(40, 96)
    with torch.inference_mode():
        by_kernel = to_int8(linear())(x)
        monkeypatch.setattr(kernels, "can_int8", lambda: False)
        torch.testing.assert_close(to_int8(linear())(x), by_kernel, atol=1e-4, rtol=1e-5)


def test_what_a_range_can_be(way: str) -> None:
    """Rows of zeros, of one value, of no negative one, with one that dwarfs the rest."""
    rows = [torch.zeros(96), torch.full((96,), 3.0), torch.rand(96) + 5, torch.eye(96)[7] * 1e6]
    x = torch.stack(rows)
    with torch.inference_mode():
        wanted, got = linear()(x), to_int8(linear())(x)
    assert torch.equal(got[0], wanted[0])
    assert ((got - wanted).abs() <= most(linear(), x)).all()


def test_a_wrong_kernel_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.can_int8.cache_clear()
    right = kernels.int8_linear
    monkeypatch.setattr(kernels, "int8_linear", lambda *given: right(*given) + 0.5)
    assert not kernels.can_int8()
    kernels.can_int8.cache_clear()


def test_a_text_has_the_same_bits_in_any_batch(way: str, tiny_table: Path) -> None:
    encoder = TextEncoder(tiny_table, compute_dtype="int8")
    together = encoder.encode(TEXTS)
    alone = np.stack([encoder.encode(text) for text in TEXTS])
    if way == "kernel":
        assert np.array_equal(together, alone)
    else:  # sums of float32 in another order, rounded to other codes here and there
        assert (together * alone).sum(1).min() > 0.999


@pytest.mark.minilm
def test_real_captions_keep_their_place(minilm_table: Path, assets: Path) -> None:
    lines = (assets / "coco" / "all_captions.txt").read_text().splitlines()[::100]
    exact = TextEncoder(minilm_table).encode(lines)
    encoder = TextEncoder(minilm_table, compute_dtype="int8")
    rounded = encoder.encode(lines)
    cosines = (exact * rounded).sum(1)
    assert cosines.min() > 0.99
    assert cosines.mean() > 0.998
    scores = [found @ found.T - 2 * np.eye(len(lines)) for found in (exact, rounded)]
    nearest = [score.argmax(1) for score in scores]
    assert (nearest[0] == nearest[1]).mean() > 0.9
    assert np.array_equal(encoder.encode(lines[:3], batch_size=1), rounded[:3])


def test_pictures_and_sounds(tiny_clip_table: Path, tiny_whisper_table: Path) -> None:
    for given, encode in (
        (pictures(), lambda kind: VisionEncoder(tiny_clip_table, compute_dtype=kind).encode),
        (
            [noise(0.5), tone(1.3)],
            lambda kind: (
                lambda sounds: AudioEncoder(tiny_whisper_table, compute_dtype=kind).encode(
                    sounds, sampling_rate=16000
                )
            ),
        ),
    ):
        exact, rounded = encode("float32")(given), encode("int8")(given)
        lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
        assert ((exact * rounded).sum(1) / lengths).min() > 0.98
        assert not np.array_equal(exact, rounded)
