"""The golden CLIP: without transformers, what makes CLIP right, and that each part of it counts."""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llm_compression import WeightLoader
from llm_compression.engine.clip_engine import CLIPEngine
from llm_compression.spec.block import Activation, BlockSpec, NormPlacement
from llm_compression.spec.model import ModelSpec, Pooling
from tests.clip_checkpoints import END, patterns

FOLDER = Path(__file__).parent / "golden"
SHA256 = "3d52df670de31b716c52e7062999399283b8a0535f078849ba4617c6cfa15374"
ANSWERS = json.loads((FOLDER / "clip.json").read_text())
TEXTS: list[str] = ANSWERS["texts"]
VISIBLE = 1e-3  # a hundred times what is allowed

Change = Callable[[ModelSpec], ModelSpec]


class Respecified(WeightLoader):
    """The golden weights under a changed spec."""

    change: Change

    @property
    def spec(self) -> ModelSpec:
        return self.change(super().spec)


@pytest.fixture(autouse=True)
def without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever imports the library fails."""
    monkeypatch.setitem(sys.modules, "transformers", None)


def errors(change: Change = lambda spec: spec) -> dict[str, np.ndarray]:
    """The largest error of each text, and of each image, under a changed spec."""
    loader = Respecified(FOLDER / "clip.parquet")
    loader.change = change
    engine = CLIPEngine(loader, truncation="ok")
    found = {"text": engine.encode_text(TEXTS), "image": engine.encode_image(patterns())}
    return {name: np.abs(found[name] - ANSWERS[name]).max(1) for name in found}


def in_blocks(tower: str, **values: object) -> Change:
    """Change the blocks of one tower."""

    def change(spec: ModelSpec) -> ModelSpec:
        part = getattr(spec, tower)
        block: BlockSpec = replace(part.block, **values)
        return replace(spec, **{tower: replace(part, block=block)})

    return change


def pooled_by(way: Pooling) -> Change:
    """Read the text embedding off elsewhere."""
    return lambda spec: replace(spec, embedding=replace(spec.embedding, pooling=way))


def test_is_the_file_that_was_first_written() -> None:
    assert hashlib.sha256((FOLDER / "clip.parquet").read_bytes()).hexdigest() == SHA256
    assert (FOLDER / "clip.parquet").stat().st_size < 150_000


def test_holds_what_is_to_be_proved() -> None:
    spec = WeightLoader(FOLDER / "clip.parquet").spec
    assert spec.text is not None
    assert spec.vision is not None
    for block in (spec.text.block, spec.vision.block):
        assert block.norm_placement is NormPlacement.PRE
        assert block.activation is Activation.QUICK_GELU
    assert (spec.text.block.causal, spec.vision.block.causal) == (True, False)
    assert spec.embedding is not None
    assert spec.embedding.pooling is Pooling.EOS


def test_embeddings_are_those_of_transformers() -> None:
    found = errors()
    assert (found["text"].shape, found["image"].shape) == ((6,), (3,))
    assert max(found["text"].max(), found["image"].max()) < 1e-5


def test_a_text_alone_has_the_same_embedding() -> None:
    """Nothing is padded then, and the mask is another."""
    engine = CLIPEngine(FOLDER / "clip.parquet", truncation="ok")
    found = np.stack([engine.encode_text(text) for text in TEXTS])
    np.testing.assert_allclose(found, ANSWERS["text"], atol=1e-5)


def test_logits_are_those_of_transformers() -> None:
    engine = CLIPEngine(FOLDER / "clip.parquet", truncation="ok")
    logits = engine.compute_similarity(TEXTS, patterns(), apply_temperature=True)
    np.testing.assert_allclose(logits, ANSWERS["logits"], atol=1e-4)
    assert np.abs(logits).max() > 10


@pytest.mark.parametrize("tower", ["text", "vision"])
@pytest.mark.parametrize(
    "values",
    [
        {"norm_placement": NormPlacement.POST},
        {"activation": Activation.GELU},
        {"activation": Activation.GELU_TANH},
        {"norm_eps": 1e-2},
        {"num_heads": 2},
    ],
    ids=["post-norm", "erf-gelu", "tanh-gelu", "epsilon", "heads"],
)
def test_a_block_of_another_kind_shows(tower: str, values: dict[str, object]) -> None:
    found = errors(in_blocks(tower, **values))
    broken, whole = ("text", "image") if tower == "text" else ("image", "text")
    assert found[broken].max() > VISIBLE
    assert found[whole].max() < 1e-5


def test_a_text_tower_that_looks_ahead_shows() -> None:
    found = errors(in_blocks("text", causal=False))["text"]
    assert found.min() > VISIBLE


def test_a_vision_tower_that_looks_back_only_shows() -> None:
    assert errors(in_blocks("vision", causal=True))["image"].min() > VISIBLE


def test_the_first_token_in_place_of_the_end_shows() -> None:
    assert errors(pooled_by(Pooling.CLS))["text"].min() > VISIBLE


@pytest.mark.parametrize("way", [Pooling.MEAN, Pooling.MAX])
def test_all_tokens_in_place_of_the_end_show(way: Pooling) -> None:
    assert errors(pooled_by(way))["text"].min() > VISIBLE


def test_the_last_token_in_place_of_the_end_shows() -> None:
    """Where a text holds the end token itself, what follows does not count."""
    found = errors(pooled_by(Pooling.LAST_TOKEN))["text"]
    inside = np.array([END in text for text in TEXTS])
    assert inside.sum() == 1
    assert found[inside] > VISIBLE
    assert found[~inside].max() < 1e-5


def test_the_highest_id_is_the_end_in_checkpoints_that_name_another() -> None:
    assert errors(pooled_by(Pooling.MAX_ID))["text"].max() < 1e-5


def test_a_text_cut_to_length_keeps_its_end() -> None:
    """Cut without it, the last text would be read off at its first token."""
    engine = CLIPEngine(FOLDER / "clip.parquet", truncation="ok")
    ids = engine.text.token_ids(TEXTS[-1:])[0]
    assert (len(ids), ids[-1], engine.text.token_counts(TEXTS[-1:])) == (16, 551, [38])
