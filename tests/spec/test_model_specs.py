"""A spec that no model could have is refused, and the message says which value."""

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from llm_compression.errors import SpecError
from tests.spec.specs import BLOCK, EMBEDDING, MODEL, TEXT, TOKENIZER, text


@pytest.mark.parametrize("field", ["hidden_size", "num_heads", "intermediate_size"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_of_a_block(field: str, value: int):
    with pytest.raises(SpecError, match=f"block.{field} is {value}; it must be at least 1"):
        replace(BLOCK, **{field: value})


def test_heads_share_the_hidden_size_evenly():
    with pytest.raises(SpecError, match=r"hidden_size 8 is not a multiple of block.num_heads 3"):
        replace(BLOCK, num_heads=3)


@pytest.mark.parametrize("value", [-1e-12, float("nan"), float("inf")])
def test_the_epsilon_of_a_norm_is_a_number_not_below_zero(value: float):
    with pytest.raises(SpecError, match=r"block\.norm_eps"):
        replace(BLOCK, norm_eps=value)


@pytest.mark.parametrize("field", ["vocab_size", "max_position_embeddings", "num_layers"])
@pytest.mark.parametrize("value", [0, -5])
def test_sizes_of_a_tower(field: str, value: int):
    with pytest.raises(SpecError, match=f"text.{field} is {value}; it must be at least 1"):
        text(**{field: value})


def test_no_type_table_is_no_error_but_a_negative_one_is():
    assert text(type_vocab_size=0).type_vocab_size == 0
    with pytest.raises(SpecError, match=r"text\.type_vocab_size"):
        text(type_vocab_size=-1)


@pytest.mark.parametrize(("offset", "tokens"), [(0, 10), (2, 8), (9, 1)])
def test_an_offset_takes_positions_away(offset: int, tokens: int):
    assert text(position_offset=offset).max_tokens == tokens


@pytest.mark.parametrize("offset", [-1, 10, 11])
def test_an_offset_leaves_a_position(offset: int):
    with pytest.raises(SpecError, match=rf"text\.position_offset {offset} leaves no position"):
        text(position_offset=offset)


@pytest.mark.parametrize("side", ["", "both", "RIGHT"])
def test_truncation_has_two_sides(side: str):
    with pytest.raises(SpecError, match=r"tokenizer\.truncation_side .* use 'left' or 'right'"):
        replace(TOKENIZER, truncation_side=side)
    assert replace(TOKENIZER, truncation_side="left").truncation_side == "left"


@pytest.mark.parametrize("pad", [-1, 20, 1000])
def test_the_padding_token_is_in_the_vocabulary(pad: int):
    with pytest.raises(SpecError, match=rf"tokenizer\.pad_token_id {pad}"):
        replace(MODEL, tokenizer=replace(TOKENIZER, pad_token_id=pad))
    assert replace(MODEL, tokenizer=replace(TOKENIZER, pad_token_id=19)).tokenizer.pad_token_id


def test_the_default_prompt_is_one_of_the_prompts():
    with pytest.raises(SpecError, match=r"default_prompt_name 'doc' is not among the prompts"):
        replace(EMBEDDING, default_prompt_name="doc")
    assert replace(EMBEDDING, default_prompt_name=None).default_prompt_name is None


@pytest.mark.parametrize("length", [0, -1, 11])
def test_a_text_has_at_most_as_many_tokens_as_positions(length: int):
    with pytest.raises(SpecError, match=rf"max_seq_length {length} is outside 1\.\.10"):
        replace(MODEL, embedding=replace(EMBEDDING, max_seq_length=length))


def test_an_offset_limits_the_length_too():
    with pytest.raises(SpecError, match=r"max_seq_length 10 is outside 1\.\.8"):
        replace(MODEL, text=text(position_offset=2))


def test_the_width_of_an_embedding_is_the_hidden_size():
    assert MODEL.dimension == 8


@pytest.mark.parametrize("spec", [MODEL, TEXT, BLOCK, TOKENIZER, EMBEDDING])
def test_specs_cannot_change(spec: Any):
    with pytest.raises(FrozenInstanceError):
        setattr(spec, fields(spec)[0].name, None)
