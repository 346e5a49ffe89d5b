"""Every tap of both towers of CLIP against transformers: tiny random models, and a trained one."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llm_compression import convert
from llm_compression.engine.clip_engine import CLIPEngine
from llm_compression.inference import bind
from llm_compression.multimodal.text.encoder import TextEncoder
from llm_compression.spec.block import Activation
from llm_compression.spec.model import Pooling
from llm_compression.validation.report import ValidationReport
from llm_compression.validation.samples import SAMPLE_TEXTS, sample_images
from llm_compression.validation.validate import validate
from llm_compression.weights.reader import WeightTable
from tests.clip_checkpoints import (
    END,
    MODEL_TYPES,
    OLDER,
    OWN,
    CLIPFactory,
    load_reference,
    pictures,
    reference_processor,
)
from tests.conversion.checkpoints import read_tensors, write_tensors

pytestmark = pytest.mark.usefixtures("either_core")
BLOCKS = [f"block.{i:02d}.{part}" for i in range(2) for part in ("attn", "mlp")]
TEXT = ["embeddings", *BLOCKS, "final_norm", "pooled", "embedding"]
VISION = ["pixels", "embeddings", "pre_norm", *BLOCKS, "pooled", "embedding"]
BOTH = [*(f"text.{tap}" for tap in TEXT), *(f"vision.{tap}" for tap in VISION), "logits"]
TEXTS = [*SAMPLE_TEXTS, "a photo of a CAT's dog", f"the cat {END} sits {END}", "red " * 40]


def check(checkpoint: Path, folder: Path, **options: object) -> ValidationReport:
    table = convert(checkpoint, folder / "model.parquet").path
    options = {"images": pictures(), **options}
    report = validate(table, checkpoint, texts=TEXTS, **options)  # type: ignore[arg-type]
    assert report.passed, report.to_table()
    return report


@pytest.mark.parametrize("names", [OWN, OLDER])
@pytest.mark.parametrize("architecture", MODEL_TYPES)
def test_every_architecture(
    architecture: str, names: str, make_clip: CLIPFactory, tmp_path: Path
) -> None:
    report = check(make_clip(architecture, names=names), tmp_path, images=None)
    wanted = BOTH if architecture == "CLIPModel" else TEXT if "Text" in architecture else VISION
    assert [tap.name for tap in report.taps] == wanted
    assert report.texts == (0 if "Vision" in architecture else len(TEXTS))
    assert report.images == (0 if "Text" in architecture else len(sample_images()))
    assert report.tolerance.absolute == 5e-5
    assert report.tolerance.cosine == 0.999999


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_one_tower_of_two(tower: str, tiny_clip: Path, tiny_clip_table: Path) -> None:
    report = validate(tiny_clip_table, tiny_clip, tower=tower)
    assert report.passed, report.to_table()
    assert [tap.name for tap in report.taps] == {"text": TEXT, "vision": VISION}[tower]


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu", "gelu_new"])
def test_activation(activation: str, make_clip: CLIPFactory, tmp_path: Path) -> None:
    changes = {"hidden_act": activation}
    check(make_clip(text=changes, vision=changes), tmp_path)


@pytest.mark.parametrize(
    ("token", "pooling"), [(2, Pooling.MAX_ID), (551, Pooling.EOS)], ids=["legacy", "stated"]
)
@pytest.mark.parametrize("architecture", ["CLIPModel", "CLIPTextModel"])
def test_end_token(
    architecture: str, token: int, pooling: Pooling, make_clip: CLIPFactory, tmp_path: Path
) -> None:
    check(make_clip(architecture, text={"eos_token_id": token}), tmp_path)
    embedding = WeightTable(tmp_path / "model.parquet").manifest.spec.embedding
    assert embedding is not None
    assert embedding.pooling is pooling


@pytest.mark.parametrize(("image", "patch"), [(32, 7), (30, 8), (32, 32), (17, 3)])
def test_patches_that_leave_an_edge(
    image: int, patch: int, make_clip: CLIPFactory, tmp_path: Path
) -> None:
    check(make_clip(vision={"image_size": image, "patch_size": patch}), tmp_path)


def test_odd_sizes(make_clip: CLIPFactory, tmp_path: Path) -> None:
    """Towers of different width, depth and head size, with an epsilon of their own."""
    text = {"hidden_size": 30, "num_attention_heads": 5, "intermediate_size": 17}
    vision = {"hidden_size": 44, "num_attention_heads": 2, "num_hidden_layers": 3}
    eps = {"layer_norm_eps": 1e-2}
    check(make_clip(projection_dim=7, text=text | eps, vision=vision | eps), tmp_path)


@pytest.mark.parametrize("texts", [["the cat sits"], ["a cat", "red ship"]])
def test_texts_that_need_no_padding(
    texts: list[str], tiny_clip: Path, tiny_clip_table: Path
) -> None:
    report = validate(tiny_clip_table, tiny_clip, texts=texts, tower="text")
    assert report.passed, report.to_table()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_checkpoint_in_half_precision(
    dtype: torch.dtype, make_clip: CLIPFactory, tmp_path: Path
) -> None:
    """What is stored in two bytes is computed in four, the temperature too."""
    check(make_clip(dtype=dtype), tmp_path)


def test_bfloat16_has_its_own_row(tiny_clip: Path, tiny_clip_table: Path) -> None:
    report = validate(tiny_clip_table, tiny_clip, texts=TEXTS, compute_dtype="bfloat16")
    assert all(tap.passed for tap in report.taps), report.to_table()
    assert max(tap.absolute for tap in report.taps) > 1e-3, "bfloat16 must differ from float32"
    assert report.tolerance.absolute is None


@pytest.mark.parametrize("activation", [Activation.GELU, Activation.RELU])
def test_another_activation_is_seen(
    activation: Activation, tiny_clip: Path, tiny_clip_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison that passes whatever the core does would prove nothing."""
    whole = bind.bind_linear
    broken = lambda tensors, name, given=None: whole(tensors, name, given and activation)  # noqa: E731
    monkeypatch.setattr(bind, "bind_linear", broken)
    report = validate(tiny_clip_table, tiny_clip)
    failed = [tap.name for tap in report.taps if not tap.passed]
    assert {"text.block.00.mlp", "vision.block.00.mlp", "text.embedding"} <= set(failed)
    assert not {"text.block.00.attn", "vision.block.00.attn", "vision.pixels"} & set(failed)
    assert not report.passed


def test_another_checkpoint_of_the_same_shape_fails(
    tiny_clip_table: Path, make_clip: CLIPFactory
) -> None:
    report = validate(tiny_clip_table, make_clip(seed=1))
    failed = {tap.name for tap in report.taps if not tap.passed}
    assert failed == {*BOTH} - {"vision.pixels"}
    assert report.same_tokens
    assert not report.same_answers
    assert not report.passed
    assert "ANSWERS DIFFER" in report.to_table()


def test_another_temperature_is_seen(tiny_clip_table: Path, make_clip: CLIPFactory) -> None:
    checkpoint = make_clip()
    tensors = read_tensors(checkpoint)
    write_tensors(checkpoint, {**tensors, "logit_scale": tensors["logit_scale"] * 0.99})
    report = validate(tiny_clip_table, checkpoint)
    assert [tap.name for tap in report.taps if not tap.passed] == ["logits"]
    assert report.same_answers
    assert not report.passed


@pytest.fixture(scope="module")
def trained(assets: Path) -> Path:
    """A small CLIP that was trained on CIFAR-10, with the real tokenizer."""
    return assets / "tiny-clip-cifar10"


@pytest.fixture(scope="module")
def trained_table(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(trained, tmp_path_factory.mktemp("trained") / "model.parquet").path


def test_the_trained_model_on_photographs(trained: Path, trained_table: Path, assets: Path) -> None:
    photographs = sorted((assets / "coco" / "images").iterdir())
    captions = (assets / "coco" / "all_captions.txt").read_text().splitlines()[:60]
    report = validate(trained_table, trained, texts=captions, images=photographs)
    assert report.passed, report.to_table()
    assert (report.images, report.texts) == (60, 60)
    assert len(report.taps) == (1 + 2 * 2 + 3) + (3 + 4 * 2 + 2) + 1
    pixels = next(tap for tap in report.taps if tap.name == "vision.pixels")
    assert pixels.absolute == 0, "preprocessing is bit-equal"


def test_the_trained_model_on_the_samples(trained: Path, trained_table: Path) -> None:
    report = validate(trained_table, trained)
    assert report.passed, report.to_table()


def test_the_trained_model_in_bfloat16(trained: Path, trained_table: Path) -> None:
    report = validate(trained_table, trained, compute_dtype="bfloat16")
    assert all(tap.passed for tap in report.taps), report.to_table()


def test_the_tokens_of_the_real_tokenizer(trained_table: Path) -> None:
    encoder = TextEncoder(trained_table, truncation="ok")
    assert encoder.token_ids(["a photo of a cat"]) == [[49406, 320, 1125, 539, 320, 2368, 49407]]
    cut = encoder.token_ids(["a photo of a cat " * 40])[0]
    assert (len(cut), cut[0], cut[-1]) == (77, 49406, 49407)


@pytest.fixture(scope="module")
def cifar10(assets: Path) -> dict[str, list[Image.Image]]:
    """Class -> its test images, in the order of their names."""
    found: dict[str, list[Image.Image]] = {}
    with tarfile.open(assets / "cifar10" / "test.tar") as tar:
        members = {m.name: m for m in tar.getmembers() if m.isfile()}
        for name in sorted(members):
            content = tar.extractfile(members[name])
            assert content is not None
            image = Image.open(io.BytesIO(content.read()))
            found.setdefault(name.split("/")[-2], []).append(image)
    return found


@pytest.mark.parametrize("each", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_zero_shot_answers_on_cifar10(
    each: int, cifar10: dict[str, list[Image.Image]], trained: Path, trained_table: Path
) -> None:
    """Image by image what transformers answers, and so the same accuracy."""
    from transformers import AutoTokenizer

    classes = sorted(cifar10)
    images = [image for name in classes for image in cifar10[name][:each]]
    labels = np.repeat(np.arange(len(classes)), each)
    assert (len(classes), len(images)) == (10, 10 * each)

    texts = [f"a photo of a {name}." for name in classes]
    model = load_reference(trained)
    tokens = AutoTokenizer.from_pretrained(trained)(texts, padding=True, return_tensors="pt")
    pixels = reference_processor(trained)(images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        theirs = model(pixel_values=pixels, **tokens).logits_per_image.numpy()

    engine = CLIPEngine(trained_table)
    ours = engine.zero_shot_classification(images, classes, return_probabilities=False)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    np.testing.assert_array_equal(ours.argmax(1), theirs.argmax(1))
    accuracy = float((ours.argmax(1) == labels).mean())
    assert accuracy == float((theirs.argmax(1) == labels).mean())
    assert accuracy > 0.5, "a trained model knows more than chance"
