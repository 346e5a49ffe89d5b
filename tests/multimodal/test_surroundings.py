"""What a caller has set around an encoder, or asks of it late, changes no embedding."""

import copy
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llm_compression import AudioEncoder, TextEncoder, VisionEncoder
from llm_compression.inference import kernels, products, trial
from llm_compression.multimodal.encoded import Encoded
from llm_compression.multimodal.text import encoder as text_encoder
from llm_compression.multimodal.text.model import TextModel
from llm_compression.native.library import Kind
from tests.multimodal.pictures import PICTURES

TEXTS = ["the cat sits", "a dog runs in the park", "red . blue"]
LATE = """
import sys, threading, time
from llm_compression import TextEncoder
encoder, texts = TextEncoder(sys.argv[1]), ["the cat sits"] * 5000
def work():
    time.sleep(0.5)  # until the main thread has ended
    print(encoder.encode(texts).shape)
threading.Thread(target=work).start()
"""


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_a_callers_autocast(kind: str, tiny_table: Path) -> None:
    wanted = TextEncoder(tiny_table, compute_dtype=kind).encode(TEXTS)
    for probe in (kernels.can_pack, kernels.can_int8):
        probe.cache_clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = TextEncoder(tiny_table, compute_dtype=kind).encode(TEXTS)
    behind = TextEncoder(tiny_table, compute_dtype=kind).encode(TEXTS)
    assert np.array_equal(within, wanted)
    assert np.array_equal(behind, wanted)


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def losing(precision: str) -> Iterator[None]:
    """Where products of float32 may be computed with fewer digits."""
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


SURROUNDINGS = {
    "device": lambda: torch.device("meta"),
    "bfloat16": lambda: default_type(torch.bfloat16),
    "float64": lambda: default_type(torch.float64),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "products in TF32": lambda: losing("high"),
    "products in bfloat16": lambda: losing("medium"),
}


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_what_a_caller_has_set(
    kind: str, around: str, tiny_table: Path, tiny_clip_table: Path, tiny_whisper_table: Path
) -> None:
    def embeddings() -> list[np.ndarray]:
        sound = np.sin(np.arange(20_000, dtype=np.float32) / 9)
        return [
            TextEncoder(tiny_table, compute_dtype=kind).encode(TEXTS),
            VisionEncoder(tiny_clip_table, compute_dtype=kind).encode(PICTURES[0]),
            *(
                AudioEncoder(tiny_whisper_table, compute_dtype=kind, mode=mode).encode(
                    sound, sampling_rate=16_000
                )
                for mode in ("exact", "fast")
            ),
        ]

    wanted = embeddings()
    before = [trial.usable(kind) for kind in Kind]
    probes = (kernels.can_pack, kernels.can_int8, products._bfloat16_is_exact, trial.usable)
    for probe in probes:
        probe.cache_clear()
    with SURROUNDINGS[around]():
        found = embeddings()
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one, other)
    assert kernels.can_pack(torch.float32)
    assert [trial.usable(kind) for kind in Kind] == before


@pytest.mark.parametrize("packed", [True, False])
def test_products_lose_nothing_by_operators_either(
    either_core: str,
    packed: bool,
    tiny_table: Path,
    tiny_clip_table: Path,
    tiny_whisper_table: Path,
) -> None:
    sound = np.sin(np.arange(20_000, dtype=np.float32) / 9)
    texts = TextEncoder(tiny_table, packed=packed)
    pictures = VisionEncoder(tiny_clip_table, packed=packed)
    sounds = AudioEncoder(tiny_whisper_table, packed=packed)

    def embeddings() -> list[np.ndarray]:
        return [
            texts.encode(TEXTS * 20),
            pictures.encode(PICTURES[0]),
            sounds.encode(sound, sampling_rate=16_000),
        ]

    wanted = embeddings()
    with losing("medium"):
        found = embeddings()
        assert torch.get_float32_matmul_precision() == "medium"
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one, other)


def test_texts_are_divided_where_cores_come_out_even(
    tiny_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    run = TextModel.__call__

    def seen(model: TextModel, *args: Any, **options: Any) -> Encoded:
        threads.append(threading.get_ident())
        return run(model, *args, **options)

    monkeypatch.setattr(TextModel, "__call__", seen)
    monkeypatch.setattr(text_encoder, "batches_at_once", lambda device: 2)
    monkeypatch.setattr(text_encoder, "batch_tokens", lambda device: 10)
    encoder = TextEncoder(tiny_table)
    encoder.encode(["the cat sits"] * 8)
    assert threading.get_ident() not in threads
    threads.clear()
    encoder.encode(["the cat sits " * 5, "the cat", "a dog"])
    assert set(threads) == {threading.get_ident()}


def test_int8_is_int8_on_plain_operators_too(tiny_table: Path) -> None:
    plain = TextEncoder(tiny_table, packed=False).encode(TEXTS)
    rounded = TextEncoder(tiny_table, packed=False, compute_dtype="int8").encode(TEXTS)
    packed = TextEncoder(tiny_table, compute_dtype="int8").encode(TEXTS)
    assert np.abs(rounded - plain).max() > 1e-4
    np.testing.assert_allclose(rounded, packed, atol=1e-5)


def test_many_texts_while_the_interpreter_ends(tiny_table: Path) -> None:
    command = [sys.executable, "-c", LATE, str(tiny_table)]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert run.stdout.startswith("(5000, "), run.stderr


def test_a_copy_of_a_trainable_has_weights_of_its_own(tiny_table: Path) -> None:
    module = TextEncoder(tiny_table).trainable("text.block.01.*")
    other = copy.deepcopy(module)
    before = module(TEXTS).embedding
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    assert torch.equal(module(TEXTS).embedding, before)
    changed = other(TEXTS).embedding
    assert (changed - before).abs().max() > 1e-3
    changed[:, 0].sum().backward()
    assert all(parameter.grad is None for parameter in module.parameters())
    assert any(parameter.grad is not None for parameter in other.parameters())
    module.load_state_dict(other.state_dict(), assign=True)
    assert torch.equal(module(TEXTS).embedding, changed)


def test_a_trainable_made_within_inference_mode_has_gradients(tiny_table: Path) -> None:
    with torch.inference_mode():
        module = TextEncoder(tiny_table).trainable("text.block.01.*")
    module(TEXTS).embedding[:, 0].sum().backward()
    assert any(parameter.grad is not None for parameter in module.parameters())
