"""Packed and plain weights: the same embeddings, and no weight in memory twice."""

import mmap
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_compression import ArrowEngine, AudioEncoder, CLIPEngine, TextEncoder, VisionEncoder
from llm_compression.inference import kernels, trial
from llm_compression.inference.lazy_core import LazyCore
from llm_compression.inference.packing import PackedLinear
from llm_compression.native.library import Kind, Library
from tests.clip_checkpoints import pictures
from tests.whisper_checkpoints import noise, tone

TEXTS = ["the cat sits on a mat", "red", "a dog runs , unable . " * 3, "red"]

LONG = "a cat sits on the mat . " * 8


def resident(tensors: Iterable[torch.Tensor]) -> float:
    """The share of the tensors' pages that are in this process's memory."""
    present = total = 0
    with open("/proc/self/pagemap", "rb") as pages:
        for tensor in tensors:
            first = tensor.data_ptr() // mmap.PAGESIZE
            last = (tensor.data_ptr() + tensor.nbytes - 1) // mmap.PAGESIZE
            pages.seek(8 * first)
            found = np.frombuffer(pages.read(8 * (last - first + 1)), np.uint64)
            present, total = present + int((found >> np.uint64(63)).sum()), total + len(found)
    return present / total


def test_texts(tiny_table: Path) -> None:
    plain = ArrowEngine(tiny_table, packed=False).encode(TEXTS)
    np.testing.assert_allclose(ArrowEngine(tiny_table).encode(TEXTS), plain, atol=1e-6)


def test_pictures_and_texts_of_one_model(tiny_clip_table: Path) -> None:
    packed, plain = CLIPEngine(tiny_clip_table), CLIPEngine(tiny_clip_table, packed=False)
    images, texts = pictures(), ["a photo of a cat", "a red truck"]
    found = [engine.encode_image(images) for engine in (packed, plain)]
    np.testing.assert_allclose(*found, atol=2e-6)
    found = [engine.encode_text(texts) for engine in (packed, plain)]
    np.testing.assert_allclose(*found, atol=2e-6)


def test_sounds(tiny_whisper_table: Path) -> None:
    sounds = [noise(0.5), tone(1.3)]
    for mode in ("exact", "fast"):
        packed, plain = (
            AudioEncoder(tiny_whisper_table, packed=packed, mode=mode) for packed in (True, False)
        )
        found = [e.encode(sounds, sampling_rate=16000) for e in (packed, plain)]
        np.testing.assert_allclose(*found, atol=2e-5)


def test_without_kernels_the_plain_operators_run(
    tiny_table: Path, tiny_clip_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, image = TextEncoder(tiny_table).encode(TEXTS), VisionEncoder(tiny_clip_table)
    pixels = image.encode(pictures())
    monkeypatch.setattr(trial, "usable", lambda _kind: None)
    monkeypatch.setattr(kernels, "can_pack", lambda _dtype: False)
    monkeypatch.setattr(kernels, "pack_weight", None)
    np.testing.assert_allclose(TextEncoder(tiny_table).encode(TEXTS), text, atol=1e-6)
    again = VisionEncoder(tiny_clip_table).encode(pictures())
    np.testing.assert_allclose(again, pixels, atol=2e-6)


def test_nothing_is_packed_before_it_is_used_and_then_once(
    tiny_table: Path, either_core: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[int] = []
    owner, name = (Library, "pack") if either_core == "compiled" else (kernels, "pack_weight")
    pack = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *given: packed.append(1) or pack(*given))
    encoder = TextEncoder(tiny_table)
    assert packed == []
    threads = [threading.Thread(target=encoder.encode, args=(TEXTS,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(packed) == 2 * 4, "two blocks of four maps, whoever came first"


@pytest.mark.parametrize("mapped", [True, False])
def test_packed_weights_are_held_once(mapped: bool, either_core: str, minilm_table: Path) -> None:
    if not kernels.can_pack(torch.float32):
        pytest.skip("this torch has no packed linear maps on this processor")
    encoder = TextEncoder(minilm_table, mapped=mapped)
    encoder.encode(LONG)
    core = encoder._model._parts()[0].core
    if either_core == "compiled":
        assert isinstance(core, LazyCore)
        assert core._plain is None
    else:
        for block in core.blocks:
            for linear in (block.attn.qkv, block.attn.o, block.mlp.up, block.mlp.down):
                assert isinstance(linear, PackedLinear)
    if mapped:  # pages of 2 MiB reach a little beyond the embedding tables
        assert resident(block_weights(encoder)) < 0.1
        plain = TextEncoder(minilm_table, packed=False)
        plain.encode(LONG)
        assert resident(block_weights(plain)) == 1.0


def test_a_first_short_text_makes_no_copy(minilm_table: Path) -> None:
    if trial.usable(Kind.FLOAT32) is None:
        pytest.skip("no compiled core here")
    encoder = TextEncoder(minilm_table)
    short = encoder.encode("a cat sits on the mat")
    assert resident(block_weights(encoder)) == 1.0
    encoder.encode(LONG)
    assert resident(block_weights(encoder)) < 0.1
    assert np.array_equal(encoder.encode("a cat sits on the mat"), short)


def block_weights(encoder: TextEncoder) -> list[torch.Tensor]:
    """Those that the file has, in place."""
    names = [name for name in encoder._loader.keys() if ".block." in name]  # noqa: SIM118
    return list(encoder._loader.load_weights(names).values())
