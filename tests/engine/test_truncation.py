"""Truncation is never silent."""

import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from llm_compression import ArrowEngine
from llm_compression.errors import InputError, TruncationError
from llm_compression.multimodal.text.truncation import TruncationWarning

LONG = "the cat sits on the mat . " * 20  # 140 tokens, the tiny model keeps 32


def test_warns_by_default_and_says_which(tiny_table: Path) -> None:
    engine = ArrowEngine(tiny_table)
    with pytest.warns(TruncationWarning, match=r"1 of 2 texts.* 32 tokens.* input 1 with 142"):
        engine.encode(["red", LONG])


def test_error_and_ok(tiny_table: Path) -> None:
    engine = ArrowEngine(tiny_table, truncation="error")
    with pytest.raises(TruncationError, match="input 0 with 142"):
        engine.encode(LONG)
    quiet = engine.encode(LONG, truncation="ok")
    assert quiet.shape == (32,)
    with pytest.raises(InputError, match="truncation 'no'"):
        ArrowEngine(tiny_table, truncation="no")


def test_cut_text_keeps_its_special_tokens(tiny_table: Path) -> None:
    (ids,) = ArrowEngine(tiny_table).token_ids([LONG])
    assert len(ids) == 32
    assert (ids[0], ids[-1]) == (2, 3)


def test_token_counts_are_of_the_whole_text(tiny_table: Path) -> None:
    assert ArrowEngine(tiny_table).token_counts(["red", "", LONG]) == [3, 2, 142]


def test_max_seq_length_can_be_set_within_the_positions(tiny_table: Path) -> None:
    engine = ArrowEngine(tiny_table, max_seq_length=40, truncation="ok")
    assert engine.max_seq_length == 40
    assert len(engine.token_ids([LONG])[0]) == 40
    for bad in (0, 41):
        with pytest.raises(InputError, match=r"max_seq_length is \d+; .* in 1\.\.40"):
            ArrowEngine(tiny_table, max_seq_length=bad)


@pytest.mark.minilm
def test_a_text_of_100_000_words(minilm_table: Path) -> None:
    engine = ArrowEngine(minilm_table)
    text = "word " * 100_000
    started = time.perf_counter()
    with pytest.warns(TruncationWarning, match="with 100002"):
        long = engine.encode(text)
    assert time.perf_counter() - started < 60, "a long text must not take for ever"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(long, engine.encode("word " * 254), atol=1e-6)


def test_a_maximum_must_leave_room_for_a_text(tiny_table: Path) -> None:
    for bad in (1, 2):
        with pytest.raises(InputError, match="no room for a text beside the 2 special tokens"):
            ArrowEngine(tiny_table, max_seq_length=bad)


def test_every_call_warns_and_names_the_callers_line(tiny_table: Path) -> None:
    engine = ArrowEngine(tiny_table)
    for call in (engine.encode, engine.encode_query, engine.encode_document, engine.taps):
        with warnings.catch_warnings(record=True) as caught:
            warnings.resetwarnings()
            warnings.filterwarnings("always", category=TruncationWarning)
            for _ in range(2):
                call(LONG)
        assert [w.filename for w in caught] == [__file__] * 2


def test_the_filter_shows_each_call() -> None:
    script = (
        "import warnings\n"
        "from llm_compression.multimodal.text.truncation import Truncation, report_truncation\n"
        "from llm_compression.multimodal.text.tokenizer import Tokens\n"
        "for _ in range(3): report_truncation([Tokens([1], 9)], Truncation.WARN, 1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.count("TruncationWarning") == 3
