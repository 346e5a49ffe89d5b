"""What an engine says of the vectors that it makes."""

from pathlib import Path

import pytest

from llm_compression import ArrowEngine, EmbeddingRanges
from llm_compression.errors import IdentityMismatchError
from llm_compression.memory.identities import text_identity
from tests.conftest import CheckpointFactory

TEXTS = ["the cat sits", "a dog runs"]


@pytest.fixture(scope="module")
def engine(tiny_table: Path) -> ArrowEngine:
    return ArrowEngine(tiny_table)


def test_a_text_engine_says_all_that_it_decides(engine: ArrowEngine):
    identity = text_identity(engine)
    assert (identity.model, identity.compute_dtype) == (engine.fingerprint, "float32")
    assert (identity.max_seq_length, identity.dimension, identity.normalized) == (32, 32, True)
    assert (identity.precision, identity.pooling, identity.prompt) == ("float32", "mean", "")


def test_what_a_caller_decides_is_said(engine: ArrowEngine):
    made = {"dimension": 8, "normalized": False, "prompt": "query : "}
    identity = text_identity(engine, **made)
    assert {name: getattr(identity, name) for name in made} == made


def test_the_prompt_is_that_of_stored_texts(make_checkpoint: CheckpointFactory):
    prompts = {"query": "query : ", "passage": "passage : "}
    engine = ArrowEngine.from_pretrained(make_checkpoint(prompts=prompts))
    assert text_identity(engine).prompt == "passage : "


def test_vectors_in_other_ranges_are_not_compared(engine: ArrowEngine):
    ranges = [engine.calibrate(texts) for texts in (TEXTS, [*TEXTS, "red"])]
    first, second = (text_identity(engine, precision="int8", ranges=r) for r in ranges)
    with pytest.raises(IdentityMismatchError, match="ranges is"):
        first.check(second, "v.parquet")
    again = EmbeddingRanges.from_json(ranges[0].to_json(), "r.json")
    first.check(text_identity(engine, precision="int8", ranges=again), "v.parquet")
