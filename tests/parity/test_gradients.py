"""Gradients of every family's weights beside those of transformers."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llm_compression import AudioEncoder, TextEncoder, VisionEncoder, WeightLoader, convert
from llm_compression.errors import InputError
from llm_compression.multimodal.encoded import Encoded
from llm_compression.weights.readonly import ReadOnlyTensor
from tests.clip_checkpoints import CLIPFactory, pictures
from tests.conftest import CheckpointFactory
from tests.conversion.checkpoints import read_tensors, write_tensors
from tests.whisper_checkpoints import WhisperFactory, noise, tone

TEXTS = ["the cat sits on a mat", "red", "a dog runs , unable"]
ALLOWED = 1e-4  # of the largest gradient of a weight


def loss(embedding: torch.Tensor) -> torch.Tensor:
    """A direction of the embeddings that no symmetry makes flat."""
    weights = torch.rand(embedding.shape, generator=torch.Generator().manual_seed(0)) - 0.3
    return (embedding * weights).sum()


def features(output: Any) -> torch.Tensor:
    """What transformers 5 wraps and 4 gives as it is."""
    found: torch.Tensor = getattr(output, "pooler_output", output)
    return found


def reference_gradients(model: torch.nn.Module, checkpoint: Path, folder: Path) -> WeightLoader:
    """The gradients under our names: a checkpoint that holds them in the place of its weights."""
    shutil.copytree(checkpoint, folder / "gradients")
    named = {name: p.grad for name, p in model.named_parameters()}
    tensors = read_tensors(checkpoint)
    prefix = "" if set(named) & set(tensors) else f"{model.base_model_prefix}."
    given = {n: named.get(n, named.get(n.removeprefix(prefix))) for n in tensors}
    zeros = {n: torch.zeros_like(t) if given[n] is None else given[n] for n, t in tensors.items()}
    write_tensors(folder / "gradients", zeros)
    return WeightLoader(convert(folder / "gradients", folder / "gradients.parquet").path)


def check(trainable: Any, inputs: object, reference: WeightLoader, tower: str) -> None:
    loss(trainable(inputs).embedding).backward()
    largest = max(float(p.grad.abs().max()) for p in trainable.parameters() if p.grad is not None)
    seen = 0
    for name, weight in trainable.weights.items():
        wanted = reference.get_tensor(name).float()
        got = torch.zeros_like(wanted) if weight.grad is None else weight.grad
        # softmax takes away what a bias adds to all keys: its gradient is rounding alone
        scale = max(float(wanted.abs().max()), 1e-3 * largest)
        assert float((got - wanted).abs().max()) <= ALLOWED * scale, name
        seen += bool(wanted.any())
    assert seen > 0.8 * len(trainable.weights), f"{tower} has too few gradients to compare"


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert"])
def test_bert(model_type: str, make_checkpoint: CheckpointFactory, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    pad = {"pad_token_id": 0, "type_vocab_size": 1} if model_type == "roberta" else {}
    checkpoint = make_checkpoint(model_type, **pad)
    model = AutoModel.from_pretrained(checkpoint).eval()
    batch = AutoTokenizer.from_pretrained(checkpoint)(
        TEXTS, padding=True, padding_side="right", return_tensors="pt"
    )
    mask = batch["attention_mask"][..., None].float()
    hidden = model(**batch).last_hidden_state
    pooled = (hidden * mask).sum(1) / mask.sum(1)
    loss(pooled / pooled.norm(dim=1, keepdim=True)).backward()
    wanted = reference_gradients(model, checkpoint, tmp_path)
    table = convert(checkpoint, tmp_path / "model.parquet").path
    check(TextEncoder(table).trainable("*"), TEXTS, wanted, "text")


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_clip(tower: str, make_clip: CLIPFactory, tmp_path: Path) -> None:
    from transformers import CLIPModel

    checkpoint = make_clip("CLIPModel")
    table = convert(checkpoint, tmp_path / "model.parquet").path
    model = CLIPModel.from_pretrained(checkpoint).eval()
    if tower == "text":
        encoder, inputs = TextEncoder(table), ["a photo of a cat", "a red truck runs"]
        for text, ids in zip(inputs, encoder.token_ids(inputs), strict=True):
            assert len(ids) > 2, text
        outputs = [
            features(model.get_text_features(input_ids=torch.tensor([ids])))
            for ids in encoder.token_ids(inputs)
        ]
        loss(torch.cat(outputs)).backward()
        trainable: Any = encoder.trainable("*")
    else:
        vision, inputs = VisionEncoder(table), pictures()[:2]
        pixels = torch.from_numpy(vision.processor(inputs))
        loss(features(model.get_image_features(pixel_values=pixels))).backward()
        trainable = vision.trainable("*")
    check(trainable, inputs, reference_gradients(model, checkpoint, tmp_path), tower)


def test_whisper(make_whisper: WhisperFactory, tmp_path: Path) -> None:
    from transformers import WhisperModel

    checkpoint = make_whisper("WhisperModel")
    table = convert(checkpoint, tmp_path / "model.parquet").path
    encoder, sounds = AudioEncoder(table), [noise(0.5), tone(1.3)]
    # transformers 4 freezes positions
    model = WhisperModel.from_pretrained(checkpoint).eval().requires_grad_(True)
    frames = torch.from_numpy(encoder.taps(sounds, sampling_rate=16000)["frames"])
    hidden = model.encoder(frames).last_hidden_state
    heard = [len(states) for states in encoder.sequence(sounds, sampling_rate=16000)]
    means = [states[:count].mean(0) for states, count in zip(hidden, heard, strict=True)]
    loss(torch.stack(means)).backward()
    wanted = reference_gradients(model, checkpoint, tmp_path)
    check(encoder.trainable("*"), sounds, wanted, "audio")


def test_only_what_is_named_is_copied_and_trained(tiny_table: Path) -> None:
    encoder = TextEncoder(tiny_table)
    before = encoder.encode(TEXTS)
    trainable = encoder.trainable("text.block.01.mlp.*")
    names = {f"text.block.01.mlp.{part}.{kind}" for part in ("up", "down")
             for kind in ("weight", "bias")}  # fmt: skip
    assert set(trainable.weights) == names
    assert len(list(trainable.parameters())) == 4
    optimizer = torch.optim.SGD(trainable.parameters(), lr=0.1)
    losses = []
    for _ in range(4):  # the same weights again and again
        optimizer.zero_grad()
        value = loss(trainable(TEXTS).embedding)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[-1] > 1e-4
    assert np.array_equal(encoder.encode(TEXTS), before), "the open model keeps its own weights"
    stored = encoder._loader.get_tensor("text.block.01.mlp.up.weight")
    assert torch.equal(stored, WeightLoader(tiny_table).get_tensor("text.block.01.mlp.up.weight"))
    assert isinstance(stored, ReadOnlyTensor)
    assert not torch.equal(trainable.weights["text.block.01.mlp.up.weight"], stored)


def test_without_names_nothing_is_trained_and_outputs_are_those_of_the_encoder(
    tiny_table: Path,
) -> None:
    encoder = TextEncoder(tiny_table)
    encoded: Encoded = encoder.trainable()(TEXTS)
    assert list(encoder.trainable().parameters()) == []
    np.testing.assert_allclose(encoded.embedding.numpy(), encoder.encode(TEXTS), atol=1e-6)


@pytest.mark.parametrize("patterns", ["text.blocks.*", ["text.*", "vision.*"]])
def test_a_pattern_that_matches_nothing_is_refused(
    patterns: str | Sequence[str], tiny_table: Path
) -> None:
    with pytest.raises(InputError, match=r"no weight is called '(text\.blocks|vision)\.\*'"):
        TextEncoder(tiny_table).trainable(patterns)


@pytest.mark.parametrize("patterns", [5, None, ["text.*", 5], {"text.*"}])
def test_what_is_no_pattern_is_refused(patterns: object, tiny_table: Path) -> None:
    with pytest.raises(InputError, match="pass patterns of weight names"):
        TextEncoder(tiny_table).trainable(patterns)  # type: ignore[arg-type]
