"""Specs survive JSON exactly, and whatever is wrong with the JSON is named with its place."""

import json
import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_compression.errors import SpecError
from llm_compression.spec import codec
from llm_compression.spec.model import ModelSpec
from llm_compression.weights.schema import Provenance, TensorEntry
from tests.spec.specs import MODEL, plain


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Part:
    size: int
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Whole:
    name: str
    weight: float
    flag: bool
    parts: tuple[Part, ...] = ()
    table: tuple[tuple[int, ...], ...] = ()
    named: dict[str, Part] | None = None
    note: str | None = None


WHOLE: dict[str, Any] = {"name": "n", "weight": 1.5, "flag": True}


def load(**values: Any) -> Whole:
    return codec.loads(Whole, json.dumps({**WHOLE, **values}), "file.parquet: spec")


def test_a_model_survives():
    assert codec.loads(ModelSpec, codec.dumps(MODEL), "here") == MODEL


@given(
    name=st.text(),
    weight=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    sizes=st.lists(st.integers()),
    note=st.none() | st.text(),
)
def test_any_values_survive(name: str, weight: float, flag: bool, sizes: list[int], note: Any):
    parts = tuple(Part(size, colour) for size in sizes for colour in Colour)
    whole = Whole(name, weight, flag, parts, (tuple(sizes), ()), {name: Part(1)}, note)
    again = codec.loads(Whole, codec.dumps(whole), "here")
    assert again == whole
    assert math.copysign(1, again.weight) == math.copysign(1, weight)


def test_equal_values_give_equal_bytes():
    shuffled = replace(MODEL.embedding, prompts=dict(reversed(MODEL.embedding.prompts.items())))
    assert codec.dumps(replace(MODEL, embedding=shuffled)) == codec.dumps(MODEL)


def test_the_text_is_compact_sorted_utf8():
    assert codec.dumps(Whole("ü", 1, True)) == (
        '{"flag":true,"name":"ü","named":null,"note":null,"parts":[],"table":[],"weight":1}'
    )


def test_defaults_may_be_left_out():
    assert load() == Whole("n", 1.5, True)
    assert load(parts=[{"size": 3}]).parts == (Part(3),)


def test_a_whole_number_is_a_float_but_not_the_other_way():
    weight = load(weight=2).weight
    assert (weight, type(weight)) == (2.0, float)
    with pytest.raises(SpecError, match=r"\.parts\[0\]\.size is 2\.0, expected int"):
        load(parts=[{"size": 2.0}])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": 3}, ".name is 3, expected str"),
        ({"flag": 1}, ".flag is 1, expected bool"),
        ({"weight": True}, ".weight is True, expected a number"),
        ({"weight": "1"}, ".weight is '1', expected a number"),
        ({"weight": None}, ".weight is None, expected a number"),
        ({"note": 5}, ".note is 5, expected str"),
        ({"parts": {}}, ".parts is {}, expected a list"),
        ({"parts": [{"size": 1}, 7]}, ".parts[1] is 7, expected an object"),
        ({"parts": [{"size": True}]}, ".parts[0].size is True, expected int"),
        ({"parts": [{"size": 1, "colour": "green"}]}, ".parts[0].colour is 'green', expected one"),
        ({"parts": [{"size": 1, "colour": []}]}, ".parts[0].colour is [], expected one of"),
        ({"parts": [{}]}, ".parts[0] has missing keys ['size']"),
        ({"parts": [{"size": 1, "x": 1, "a": 2}]}, ".parts[0] has unknown keys ['a', 'x']"),
        ({"table": [[1], [2, "3"]]}, ".table[1][1] is '3', expected int"),
        ({"named": []}, ".named is [], expected an object"),
        ({"named": {"k": {"size": None}}}, ".named.k.size is None, expected int"),
        ({"other": 1}, " has unknown keys ['other']"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(values: dict[str, Any], message: str):
    with pytest.raises(SpecError) as caught:
        load(**values)
    assert str(caught.value).startswith("file.parquet: spec" + message)


def test_missing_keys_are_all_named():
    with pytest.raises(SpecError, match=r"^here has missing keys \['flag', 'weight'\]"):
        codec.loads(Whole, '{"name": "n"}', "here")


@pytest.mark.parametrize("text", ["", "{", "nonsense", '{"name": }', "[1, 2", "\x00", '"\\ud8"'])
def test_what_is_not_json(text: str):
    with pytest.raises(SpecError, match=r"^here is not valid JSON"):
        codec.loads(Whole, text, "here")


@pytest.mark.parametrize("text", ["[]", "3", '"text"', "null", "true"])
def test_json_of_another_kind(text: str):
    with pytest.raises(SpecError, match=r"^here is .*, expected an object"):
        codec.loads(Whole, text, "here")


@pytest.mark.parametrize("opened", ["[", '{"name":', '{"parts":[', '{"named":{"a":'])
def test_deep_nesting(opened: str):
    with pytest.raises(SpecError, match=r"^here"):
        codec.loads(Whole, opened * 100_000, "here")


@pytest.mark.parametrize("closed", [True, False])
def test_deep_nesting_where_a_number_should_be(closed: bool):
    deep = "[" * 900 + "]" * 900 * closed
    with pytest.raises(SpecError, match=r"^here"):
        codec.loads(Whole, f'{{"name":"n","flag":true,"weight":{deep}}}', "here")


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_too_large_for_a_float(digits: int):
    with pytest.raises(SpecError, match=r"^here"):
        codec.loads(Whole, f'{{"name":"n","flag":true,"weight":{"9" * digits}}}', "here")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_json_has_no_such_numbers(number: str):
    with pytest.raises(SpecError, match=r"^here"):
        codec.loads(Whole, f'{{"name":"n","flag":true,"weight":{number}}}', "here")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"text__block__hidden_size": 9}, "spec.text.block block.hidden_size 9 is not a multiple"),
        ({"text__block__activation": "tanh"}, "spec.text.block.activation is 'tanh', expected one"),
        ({"text__block__norm_placement": "PRE"}, "spec.text.block.norm_placement is 'PRE'"),
        ({"text__num_layers": 0}, "spec.text text.num_layers is 0"),
        ({"embedding__pooling": "median"}, "spec.embedding.pooling is 'median', expected one of"),
        ({"embedding__max_seq_length": 11}, "spec embedding.max_seq_length 11 is outside 1..10"),
        ({"family": "gpt2"}, "spec.family is 'gpt2', expected one of"),
        ({"tokenizer__extra": 1}, "spec.tokenizer has unknown keys ['extra']"),
    ],
)
def test_a_wrong_model(values: dict[str, Any], message: str):
    with pytest.raises(SpecError) as caught:
        codec.loads(ModelSpec, json.dumps(plain(**values)), "spec")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("kind", [Provenance, tuple[TensorEntry, ...]])
def test_other_kinds_of_the_format_are_checked_too(kind: Any):
    with pytest.raises(SpecError, match=r"^m(\[0\])? (has missing keys|is )"):
        codec.loads(kind, '[{"name": "a"}]', "m")
