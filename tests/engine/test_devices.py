"""The option ``device``: every way to open a model has it, checks it, and passes it on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_compression import (
    ArrowEngine,
    ArrowEngineProvider,
    AudioEncoder,
    CLIPEngine,
    MultimodalEmbeddingProvider,
    TextEncoder,
    VisionEncoder,
)
from llm_compression.adapters.sentence_transformers import SentenceTransformer
from llm_compression.errors import InputError
from llm_compression.memory.identities import text_identity
from llm_compression.multimodal import pretrained
from llm_compression.validation.validate import validate

META = torch.device("meta")
KINDS: dict[str, tuple[Callable[..., object], str]] = {
    "ArrowEngine": (ArrowEngine, "tiny_table"),
    "TextEncoder": (TextEncoder, "tiny_table"),
    "VisionEncoder": (VisionEncoder, "tiny_clip_table"),
    "CLIPEngine": (CLIPEngine, "tiny_clip_table"),
    "AudioEncoder": (AudioEncoder, "tiny_whisper_table"),
    "from_pretrained": (ArrowEngine.from_pretrained, "tiny_table"),
    "ArrowEngineProvider": (ArrowEngineProvider, "tiny_table"),
    "SentenceTransformer": (SentenceTransformer, "tiny_table"),
}


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest) -> Callable[..., object]:
    kind, table = KINDS[request.param]
    path: Path = request.getfixturevalue(table)
    return lambda **options: kind(path, **options)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The devices that encoders were opened on; all are ``meta`` then."""
    found: list[object] = []
    monkeypatch.setattr(pretrained, "device_of", lambda name: found.append(name) or META)
    return found


def test_the_cpu_by_default(opened: Callable[..., object]) -> None:
    for model in (opened(), opened(device="cpu"), opened(device=torch.device("cpu"))):
        assert str(model.device) == "cpu"  # type: ignore[attr-defined]


@pytest.mark.parametrize("device", ["gpu", "cuda:99", torch.device("meta"), 0])
def test_it_is_checked_when_a_model_is_opened(
    device: object, opened: Callable[..., object]
) -> None:
    with pytest.raises(InputError, match="device is"):
        opened(device=device)


def test_types_are_checked_when_a_model_is_opened(
    tiny_table: Path, tiny_bert: Path, asked: list[object]
) -> None:
    with pytest.raises(InputError, match="compute_dtype 'int8' is for the CPU"):
        ArrowEngine(tiny_table, device="cuda", compute_dtype="int8")
    with pytest.raises(InputError, match="compute_dtype 'int8' is for the CPU"):
        validate(tiny_table, tiny_bert, device="cuda", compute_dtype="int8")
    assert asked == ["cuda", "cuda"]


def test_float16_is_for_gpus(tiny_table: Path, tiny_bert: Path) -> None:
    with pytest.raises(InputError, match="'float16' is for GPUs; on the CPU use 'bfloat16'"):
        ArrowEngine(tiny_table, compute_dtype="float16")
    with pytest.raises(InputError, match="'float16' is for GPUs"):
        validate(tiny_table, tiny_bert, compute_dtype="float16")


def test_a_device_makes_no_other_vectors(tiny_table: Path, asked: list[object]) -> None:
    there = text_identity(ArrowEngine(tiny_table, device="cuda"))
    assert asked == ["cuda"]
    assert text_identity(ArrowEngine(tiny_table)) == there
    half = text_identity(ArrowEngine(tiny_table, device="cuda", compute_dtype="float16"))
    assert not half.fits(there)


def test_providers_open_their_models_there(
    tiny_table: Path, tiny_clip_table: Path, tiny_whisper_table: Path, asked: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    one = ArrowEngineProvider(tiny_table, device="cuda:1")
    make, arguments = one.__reduce__()
    assert make(*arguments).device == "cuda:1"
    assert asked == ["cuda:1"] * 2
    asked.clear()
    tables = (tiny_table, tiny_clip_table, tiny_whisper_table, tiny_clip_table)
    every = MultimodalEmbeddingProvider(*tables, "cuda:1", compute_dtype="float16")
    assert asked == [], "no model is open yet"
    for modality in ("text", "vision", "audio", "clip"):
        every.identity(modality)
    assert asked == ["cuda:1"] * 6, "CLIP's engine opens both of its towers"
    make, arguments = every.__reduce__()
    assert make(*arguments).device == "cuda:1"


def test_the_drop_in_stays_where_it_is(tiny_table: Path) -> None:
    model = SentenceTransformer(ArrowEngine(tiny_table), device="cpu")
    assert model.to("cpu").to(None) is model
    assert model.device == torch.device("cpu")
    np.testing.assert_array_equal(model.encode("red", device="cpu"), model.encode("red"))
    with pytest.raises(InputError, match="device is 'cuda:99'"):
        model.to("cuda:99")


def test_the_drop_in_does_not_move(tiny_table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    engine = ArrowEngine(tiny_table)
    for move in (
        lambda: SentenceTransformer(engine, device="cuda"),
        lambda: SentenceTransformer(engine).to("cuda"),
        lambda: SentenceTransformer(engine).encode("red", device="cuda:0"),
    ):
        with pytest.raises(InputError, match=r"the model is on cpu; .* open it with device='cuda"):
            move()
