"""All that a model computes is on its device, shown without a GPU.

On torch's ``meta`` device tensors have shapes and no numbers: what needs a number, or meets a
tensor of the host, cannot run there.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llm_compression import AudioEncoder, CLIPEngine, TextEncoder, VisionEncoder, convert
from llm_compression.inference import attention
from llm_compression.multimodal import pretrained
from llm_compression.multimodal.pretrained import Pretrained
from tests.clip_checkpoints import pictures
from tests.conftest import CheckpointFactory
from tests.whisper_checkpoints import noise, tone

META = torch.device("meta")
TEXTS = ["the cat sits on a mat", "red", "a dog runs , unable . " * 3, "red", "the cat", "blue red"]
SOUNDS = [noise(0.5), tone(1.3), noise(3.1)]  # the last in two windows


class OneDevice(TorchDispatchMode):
    """Refuses every operator that takes tensors of two devices, numbers without axes too."""

    def __init__(self) -> None:
        super().__init__()
        self.on_meta = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, torch.Tensor)]
        devices = {tensor.device.type for tensor in given}
        assert len(devices) < 2, f"{func} takes tensors of {devices}"
        self.on_meta += devices == {"meta"}
        return func(*args, **(kwargs or {}))


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Opens encoders on ``meta``; the shapes of what was copied from there, as zeros."""
    found: list[tuple[int, ...]] = []
    to_host = torch.Tensor.cpu

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device != META:
            return to_host(tensor)
        found.append(tuple(tensor.shape))
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    monkeypatch.setattr(pretrained, "device_of", lambda _name: META)
    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(attention, "_in_products", None)
    monkeypatch.setattr(attention, "fast_products", None)
    return found


@pytest.fixture
def strict() -> Iterator[OneDevice]:
    with OneDevice() as mode:
        yield mode
    assert mode.on_meta, "nothing ran there"


Call = Callable[[Any], Any]
TEXT_CALLS: list[Call] = [
    lambda e: e.encode(TEXTS),
    lambda e: e.encode(TEXTS * 40),
    lambda e: e.encode("red"),
    lambda e: e.pooled(TEXTS),
    lambda e: e.sequence(TEXTS),
    lambda e: e.taps(TEXTS),
]


@pytest.mark.usefixtures("copies", "strict")
@pytest.mark.parametrize("call", TEXT_CALLS)
@pytest.mark.parametrize("compute_dtype", ["float32", "bfloat16", "float16"])
def test_bert(call: Call, compute_dtype: str, tiny_table: Path) -> None:
    call(TextEncoder(tiny_table, compute_dtype=compute_dtype, truncation="ok"))


@pytest.mark.usefixtures("copies", "strict")
@pytest.mark.parametrize("pooling", ["cls", "max", "lasttoken"])
def test_positions_after_padding_and_every_pooling(
    pooling: str, make_checkpoint: CheckpointFactory, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint("xlm-roberta", pooling=pooling, pad_token_id=1)
    encoder = TextEncoder(convert(checkpoint, tmp_path / "t.parquet").path, truncation="ok")
    encoder.encode(TEXTS)


@pytest.mark.usefixtures("copies", "strict")
@pytest.mark.parametrize("call", TEXT_CALLS)
def test_texts_of_clip(call: Call, tiny_clip_table: Path) -> None:
    call(TextEncoder(tiny_clip_table, truncation="ok"))


@pytest.mark.usefixtures("copies", "strict")
@pytest.mark.parametrize(
    "call",
    [lambda e: e.encode(pictures(5), batch_size=2), lambda e: e.pooled(pictures(2)),
     lambda e: e.sequence(pictures(2)), lambda e: e.taps(pictures(2))],
)  # fmt: skip
@pytest.mark.parametrize("compute_dtype", ["float32", "float16"])
def test_images_of_clip(call: Call, compute_dtype: str, tiny_clip_table: Path) -> None:
    call(VisionEncoder(tiny_clip_table, compute_dtype=compute_dtype))


@pytest.mark.usefixtures("copies", "strict")
@pytest.mark.parametrize(
    "call",
    [lambda e: e.encode(SOUNDS, sampling_rate=16000), lambda e: e.taps(SOUNDS, sampling_rate=16000),
     lambda e: e.encode_windows(SOUNDS, sampling_rate=16000),
     lambda e: e.sequence(SOUNDS, sampling_rate=16000)],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("compute_dtype", ["float32", "float16"])
def test_whisper(call: Call, mode: str, compute_dtype: str, tiny_whisper_table: Path) -> None:
    call(AudioEncoder(tiny_whisper_table, mode=mode, compute_dtype=compute_dtype))


@pytest.mark.usefixtures("strict")
def test_long_windows_and_both_towers(
    long_whisper_table: Path, tiny_clip_table: Path, copies: list[tuple[int, ...]]
) -> None:
    AudioEncoder(long_whisper_table).encode(SOUNDS, sampling_rate=16000)
    assert copies == [(3, 16)], "1,500 positions each, and one batch"
    clip = CLIPEngine(tiny_clip_table)
    assert {clip.device, clip.text.device, clip.vision.device} == {META}
    clip.encode_text(TEXTS[:2])
    clip.encode_image(pictures(2))


def test_one_copy_for_each_batch(tiny_table: Path, copies: list[tuple[int, ...]]) -> None:
    encoder = TextEncoder(tiny_table, truncation="ok")
    assert encoder.encode(TEXTS * 40).shape == (240, 32)
    assert copies == [(240, 32)], "some 3,000 tokens, of which a GPU takes more at once"
    copies.clear()
    encoder.encode(TEXTS, batch_size=4)
    assert copies == [(4, 32), (2, 32)]
    copies.clear()
    tokens = sum(len(ids) for ids in encoder.token_ids(TEXTS))
    encoder.sequence(TEXTS)
    assert copies == [(tokens, 32)]


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize("mapped", [True, False])
def test_weights_are_copied_once_on_first_use(mapped: bool, tiny_table: Path) -> None:
    encoder = TextEncoder(tiny_table, mapped=mapped)
    parts = encoder._model._parts
    assert parts.made is None
    encoder.encode("red")
    first = parts()[0].token
    assert first.device == META
    encoder.encode("blue")
    assert parts()[0].token is first


def test_pickles_keep_the_device(tiny_table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(pretrained, "device_of", lambda name: asked.append(name) or META)
    encoder = TextEncoder(tiny_table, device="cuda:1")
    make, arguments = encoder.__reduce__()
    assert isinstance(make(*arguments), Pretrained)
    assert asked == ["cuda:1", "cuda:1"]
    assert encoder._options["device"] == "cuda:1"
