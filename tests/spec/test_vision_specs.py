"""Specs of images, vision towers and models of two towers."""

from dataclasses import replace
from typing import Any

import pytest

from llm_compression.errors import SpecError
from llm_compression.spec.block import Activation, BlockSpec, NormPlacement
from llm_compression.spec.image import ImageSpec, Resample
from llm_compression.spec.model import Family, ModelSpec, Pooling
from llm_compression.spec.tensors import expected_tensors, text_tensors, vision_tensors
from llm_compression.spec.towers import TextSpec, VisionSpec
from tests.spec.specs import EMBEDDING, TEXT, TOKENIZER

PRE = BlockSpec(8, 2, 12, NormPlacement.PRE, 1e-5, Activation.QUICK_GELU)
VISION = VisionSpec(
    image_size=6, patch_size=3, num_channels=3, num_layers=1, projection_dim=5, block=PRE
)
IMAGE = ImageSpec(
    shortest_edge=6, size=None, resample=Resample.BICUBIC, crop=(6, 6), scale=1 / 255,
    mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
)  # fmt: skip
CLIP_TEXT = replace(
    TEXT, type_vocab_size=0, block=replace(PRE, causal=True), embedding_norm=False,
    final_norm=True, projection_dim=5,
)  # fmt: skip
CLIP = ModelSpec(
    family=Family.CLIP,
    text=CLIP_TEXT,
    tokenizer=replace(TOKENIZER, eos_token_id=3),
    embedding=replace(EMBEDDING, pooling=Pooling.EOS),
    vision=VISION,
    image=IMAGE,
)


@pytest.mark.parametrize("name", ["image_size", "patch_size", "num_channels", "num_layers"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_of_a_vision_tower(name: str, value: int) -> None:
    with pytest.raises(SpecError, match=f"vision.{name} is {value}; it must be at least 1"):
        replace(VISION, **{name: value})


@pytest.mark.parametrize("spec", [VISION, CLIP_TEXT])
@pytest.mark.parametrize("value", [0, -5])
def test_the_width_of_a_projection(spec: TextSpec | VisionSpec, value: int) -> None:
    with pytest.raises(SpecError, match=f"projection_dim is {value}; it must be at least 1"):
        replace(spec, projection_dim=value)


def test_a_patch_fits_into_the_image() -> None:
    with pytest.raises(SpecError, match=r"patch_size 7 is larger than vision\.image_size 6"):
        replace(VISION, patch_size=7)


@pytest.mark.parametrize(
    ("image", "patch", "patches"),
    [(6, 3, 4), (7, 3, 4), (6, 6, 1), (8, 3, 4), (224, 32, 49), (336, 14, 576)],
)
def test_patches_that_leave_an_edge(image: int, patch: int, patches: int) -> None:
    assert replace(VISION, image_size=image, patch_size=patch).num_patches == patches


@pytest.mark.parametrize("spec", [VISION, CLIP_TEXT])
def test_the_width_of_an_embedding(spec: TextSpec | VisionSpec) -> None:
    assert (spec.dimension, replace(spec, projection_dim=None).dimension) == (5, 8)


def test_the_width_of_a_model() -> None:
    alone = replace(CLIP, text=None, tokenizer=None, embedding=None)
    assert (CLIP.dimension, alone.dimension, alone.towers) == (5, 5, (VISION,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"text": None}, "a text tower, tokenizer and embedding come together"),
        ({"tokenizer": None}, "a text tower, tokenizer and embedding come together"),
        ({"embedding": None}, "a text tower, tokenizer and embedding come together"),
        ({"vision": None}, "a vision tower and image, its preprocessing, come together"),
        ({"image": None}, "a vision tower and image, its preprocessing, come together"),
        (dict.fromkeys(("text", "tokenizer", "embedding", "vision", "image")), "has no tower"),
        ({"text": replace(CLIP_TEXT, projection_dim=6)}, "6 wide and image embeddings 5"),
        ({"tokenizer": TOKENIZER}, "pooling 'eos' needs tokenizer.eos_token_id"),
        ({"tokenizer": replace(TOKENIZER, eos_token_id=20)}, "eos_token_id 20 is outside"),
        ({"tokenizer": replace(TOKENIZER, eos_token_id=-1)}, "eos_token_id -1 is outside"),
        ({"image": replace(IMAGE, crop=(6, 5))}, r"image gives \(6, 5\).* 6 x 6"),
        ({"image": replace(IMAGE, crop=None)}, "image gives None"),
        ({"image": replace(IMAGE, mean=(0.5,), std=(0.5,))}, "mean has 1 values for 3 channels"),
    ],
)
def test_parts_that_do_not_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(CLIP, **values)


def test_the_end_token_is_needed_by_one_pooling_alone() -> None:
    other = replace(CLIP.embedding, pooling=Pooling.MAX_ID)
    assert replace(CLIP, embedding=other, tokenizer=TOKENIZER).tokenizer == TOKENIZER


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": (6, 6)}, "shortest_edge and image.size are both set"),
        ({"shortest_edge": 0}, "image.shortest_edge is 0"),
        ({"shortest_edge": None, "size": (6,)}, r"image.size is \(6,\)"),
        ({"shortest_edge": None, "size": (0, 6)}, r"image.size is \(0, 6\)"),
        ({"crop": (6, 6, 6)}, "image.crop"),
        ({"crop": (6, -6)}, "image.crop"),
        ({"std": (0.5, 0.5)}, "image.mean"),
        ({"std": (0.5, 0.5, 0.0)}, "image.std"),
        ({"mean": (0.5, 0.5, float("nan"))}, "image.mean"),
        ({"std": (0.5, 0.5, float("inf"))}, "image.std"),
        ({"scale": float("inf")}, "image.scale"),
        ({"scale": float("nan")}, "image.scale"),
    ],
)
def test_preprocessing_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(IMAGE, **values)


def test_the_size_that_comes_out() -> None:
    assert IMAGE.output == (6, 6)
    assert replace(IMAGE, crop=None).output is None
    assert replace(IMAGE, shortest_edge=None, size=(4, 5), crop=None).output == (4, 5)
    assert replace(IMAGE, shortest_edge=None, size=(4, 5)).output == (6, 6)


def test_tensors_of_both_towers() -> None:
    expected = expected_tensors(CLIP)
    block = {
        "attn.q.weight": (8, 8), "attn.q.bias": (8,), "attn.k.weight": (8, 8), "attn.k.bias": (8,),
        "attn.v.weight": (8, 8), "attn.v.bias": (8,), "attn.o.weight": (8, 8), "attn.o.bias": (8,),
        "attn_norm.weight": (8,), "attn_norm.bias": (8,), "mlp.up.weight": (12, 8),
        "mlp.up.bias": (12,), "mlp.down.weight": (8, 12), "mlp.down.bias": (8,),
        "mlp_norm.weight": (8,), "mlp_norm.bias": (8,),
    }  # fmt: skip
    wanted = {
        "text.embeddings.token": (20, 8),
        "text.embeddings.position": (10, 8),
        **{f"text.block.00.{name}": shape for name, shape in block.items()},
        "text.final_norm.weight": (8,),
        "text.final_norm.bias": (8,),
        "text.projection.weight": (5, 8),
        "vision.embeddings.class": (8,),
        "vision.embeddings.patch.weight": (8, 3, 3, 3),
        "vision.embeddings.position": (5, 8),
        "vision.pre_norm.weight": (8,),
        "vision.pre_norm.bias": (8,),
        **{f"vision.block.00.{name}": shape for name, shape in block.items()},
        "vision.post_norm.weight": (8,),
        "vision.post_norm.bias": (8,),
        "vision.projection.weight": (5, 8),
        "logit_scale": (),
    }
    assert list(expected.items()) == list(wanted.items())


def test_tensors_of_one_tower() -> None:
    alone = replace(CLIP, vision=None, image=None)
    assert expected_tensors(alone) == text_tensors(CLIP_TEXT)
    alone = replace(CLIP, text=None, tokenizer=None, embedding=None)
    assert expected_tensors(alone) == vision_tensors(VISION)
    bare = vision_tensors(replace(VISION, projection_dim=None))
    assert vision_tensors(VISION).keys() - bare.keys() == {"vision.projection.weight"}
