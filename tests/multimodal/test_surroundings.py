"""What a caller has set around an encoder, or asks of it late, changes no embedding."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_compression import TextEncoder
from llm_compression.inference import kernels

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
