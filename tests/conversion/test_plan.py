"""Rules and the one loop over them, with shapes made by hand."""

import pytest

from llm_compression.conversion.apply import make_plan
from llm_compression.conversion.rules import Drop, Rename, match, target_name
from llm_compression.errors import CheckpointError
from llm_compression.weights.schema import Dropped

RULES = [
    Drop("head.*", "a head"),
    Rename("embed.weight", "token"),
    Rename("layer.{i}.norm.weight", "block.{i}.norm"),
    Rename("layer.{i}.norm.gamma", "block.{i}.norm"),
    Drop("layer.{i}.mask", "a buffer"),
]
EXPECTED = {"token": (4, 2), "block.00.norm": (2,), "block.01.norm": (2,)}
SHAPES = {"layer.1.norm.weight": (2,), "layer.0.norm.weight": (2,), "embed.weight": (4, 2)}


def problems(shapes: dict[str, tuple[int, ...]]) -> list[str]:
    with pytest.raises(CheckpointError) as caught:
        make_plan(RULES, shapes, EXPECTED, "folder")
    first, *lines = str(caught.value).splitlines()
    found = [line.strip() for line in lines if line.startswith("  ")]
    assert first == f"folder does not fit its config.json in {len(found)} tensors:"
    return found


def test_every_tensor_finds_its_place_in_file_order():
    plan = make_plan(RULES, SHAPES, EXPECTED, "folder")
    assert list(plan.sources.items()) == [
        ("token", "embed.weight"),
        ("block.00.norm", "layer.0.norm.weight"),
        ("block.01.norm", "layer.1.norm.weight"),
    ]
    assert plan.dropped == ()


def test_what_is_dropped_has_its_reason():
    shapes = {**SHAPES, "head.a.b": (9, 9), "layer.12.mask": (1,), "head.": ()}
    assert make_plan(RULES, shapes, EXPECTED, "folder").dropped == (
        Dropped("head.a.b", "a head"),
        Dropped("layer.12.mask", "a buffer"),
        Dropped("head.", "a head"),
    )


def test_a_missing_tensor():
    del (shapes := dict(SHAPES))["layer.1.norm.weight"]
    assert problems(shapes) == ["missing: block.01.norm [2]"]


def test_a_tensor_that_no_rule_knows():
    extra = {"adapter.weight": (2, 2), "layers.0.norm.weight": (2,), "xembed.weight": (4, 2)}
    assert problems({**SHAPES, **extra}) == [
        "not known to this architecture: adapter.weight",
        "not known to this architecture: layers.0.norm.weight",
        "not known to this architecture: xembed.weight",
    ]


def test_a_block_beyond_those_of_the_config():
    assert problems({**SHAPES, "layer.2.norm.weight": (2,)}) == [
        "not known to this architecture: layer.2.norm.weight"
    ]


@pytest.mark.parametrize("shape", [(2, 4), (4, 2, 1), (8,), (4, 3), ()])
def test_a_misshapen_tensor(shape: tuple[int, ...]):
    assert problems({**SHAPES, "embed.weight": shape}) == [
        f"misshapen: embed.weight is {list(shape)}, config.json asks for [4, 2]"
    ]


def test_two_tensors_for_one_place():
    assert problems({**SHAPES, "layer.0.norm.gamma": (2,)}) == [
        "duplicate: layer.0.norm.weight and layer.0.norm.gamma both become block.00.norm"
    ]


def test_a_block_number_with_a_zero_before_it():
    """transformers would not know it, and leave the layer as it was at random."""
    assert problems({**SHAPES, "layer.00.norm.weight": (2,)}) == [
        "not known to this architecture: layer.00.norm.weight"
    ]


def test_all_problems_are_one_error():
    shapes = {
        "what.is.this": (1,),
        "layer.0.norm.weight": (2,),
        "layer.0.norm.gamma": (2,),
        "embed.weight": (5, 2),
    }
    assert problems(shapes) == [
        "not known to this architecture: what.is.this",
        "misshapen: embed.weight is [5, 2], config.json asks for [4, 2]",
        "duplicate: layer.0.norm.weight and layer.0.norm.gamma both become block.00.norm",
        "missing: block.01.norm [2]",
    ]


def test_a_checkpoint_without_tensors():
    assert len(problems({})) == len(EXPECTED)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("a.b", "a.b", True),
        ("a.b", "axb", False),
        ("a.b", "a.b.c", False),
        ("a.b", "z.a.b", False),
        ("a.{i}.b", "a.12.b", True),
        ("a.{i}.b", "a..b", False),
        ("a.{i}.b", "a.-1.b", False),
        ("a.{i}.b", "a.1.2.b", False),
        ("a.{i}.b", "a.1.b\n", False),
        ("cls.*", "cls.predictions.bias", True),
        ("cls.*", "cls", False),
        ("cls.*", "xcls.a", False),
    ],
)
def test_patterns_match_whole_names(pattern: str, name: str, matches: bool):
    assert bool(match(Drop(pattern, ""), name)) is matches


@pytest.mark.parametrize(
    ("number", "padded"), [("0", "00"), ("7", "07"), ("99", "99"), ("100",) * 2]
)
def test_block_numbers_get_two_digits(number: str, padded: str):
    rule = Rename("a.{i}.b", "x.{i}.y")
    found = match(rule, f"a.{number}.b")
    assert found
    assert target_name(rule, found) == f"x.{padded}.y"
