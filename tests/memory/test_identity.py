"""Vectors made differently are never compared; the message names every difference."""

from dataclasses import fields, replace
from typing import Any

import pytest

from llm_compression.errors import InputError
from llm_compression.memory.identity import VectorIdentity

IDENTITY = VectorIdentity("a" * 64, "float32", 256, 384, normalized=True, precision="float32",
                          pooling="mean")  # fmt: skip
OTHER: dict[str, Any] = {
    "model": "b" * 64,
    "compute_dtype": "bfloat16",
    "max_seq_length": 128,
    "dimension": 64,
    "normalized": False,
    "precision": "int8",
    "modality": "audio",
    "audio_mode": "fast",
    "window": 30.0,
    "overlap": 5.0,
    "pooling": "cls",
    "prompt": "passage: ",
    "projector": "c" * 64,
    "ranges": "d" * 64,
}


def test_the_same_way_is_fine():
    IDENTITY.check(replace(IDENTITY), "v.parquet")


@pytest.mark.parametrize("name", OTHER)
def test_one_difference(name: str):
    other = replace(IDENTITY, **{name: OTHER[name]})
    with pytest.raises(InputError) as caught:
        IDENTITY.check(other, "v.parquet")
    here = getattr(IDENTITY, name)
    assert str(caught.value) == (
        f"the vectors in v.parquet were made differently: {name} is {OTHER[name]!r} there, "
        f"{here!r} here; embed again"
    )


def test_every_difference_is_named():
    with pytest.raises(InputError) as caught:
        IDENTITY.check(VectorIdentity(**OTHER), "v.parquet")
    assert set(OTHER) == {field.name for field in fields(VectorIdentity)}
    assert all(f"{name} is " in str(caught.value) for name in OTHER)


def test_files_from_before_pooling_was_stated():
    IDENTITY.check(replace(IDENTITY, pooling=""), "v.parquet")
    replace(IDENTITY, pooling="").check(IDENTITY, "v.parquet")


def test_a_key_names_an_identity():
    assert IDENTITY.key == replace(IDENTITY).key
    assert len({replace(IDENTITY, **{name: OTHER[name]}).key for name in OTHER}) == len(OTHER)
