"""A tokenizer whose vocabulary stands apart: the same one, and no other kind is taken apart."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from llm_compression import TextEncoder
from llm_compression.errors import CorruptWeightTableError
from llm_compression.multimodal.text.tokenizer import joined
from llm_compression.weights import mapped_writer, seal
from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.mapped import MappedCopy
from llm_compression.weights.mapping import mapped_path
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import FileRole
from llm_compression.weights.vocabulary import SplitTokenizer, split

TEXTS = [
    "a cat sits on a mat",
    "runnable ! unable",
    "[MASK] red [SEP] x\u0301y \u4e2d",
    "",
    "blue" * 60,
]


def content_of(path: Path) -> bytes:
    return WeightTable(path).read_role(FileRole.TOKENIZER)


def changed(content: bytes, **model: Any) -> bytes:
    plain = json.loads(content)
    plain["model"] |= model
    return json.dumps(plain).encode()


def assert_same(content: bytes) -> None:
    apart = split(content)
    assert apart is not None
    assert apart.whole() == json.loads(content)
    found, wanted = joined(apart), Tokenizer.from_str(content.decode())
    assert json.loads(found.to_str()) == json.loads(wanted.to_str())
    for text in TEXTS:
        assert found.encode(text).ids == wanted.encode(text).ids, text


def test_is_the_same_tokenizer(tiny_table: Path) -> None:
    assert_same(content_of(tiny_table))


@pytest.mark.minilm
def test_is_the_same_tokenizer_of_the_real_minilm(minilm_table: Path) -> None:
    content = content_of(minilm_table)
    assert_same(content)
    apart, random_ = split(content), random.Random(0)
    assert apart is not None
    found, wanted = joined(apart), Tokenizer.from_str(content.decode())
    for _ in range(300):
        text = "".join(
            chr(random_.choice((random_.randrange(32, 127), random_.randrange(0xD7FF))))
            for _ in range(60)
        )
        assert found.encode(text).ids == wanted.encode(text).ids, text


@pytest.mark.parametrize(
    "model",
    [
        {"type": "BPE", "merges": []},
        {"vocab": {"[UNK]": 0, "a": 2}},
        {"vocab": {"[UNK]": 1, "a": 2}},
        {"vocab": {"[UNK]": 0, "a\nb": 1}},
        {"vocab": {"[UNK]": 0, "a": "1"}},
        {"vocab": {"[UNK]": 0, "\ud800": 1}},
        {"vocab": ["[UNK]", "a"]},
        {"vocab": {}},
        {"vocab": {"[UNK]": False, "a": True}},
        {"vocab": {"[UNK]": 0, "a": 1.0}},
        {"foo": 1},
        {"vocab": None},
    ],
    ids=str,
)
def test_another_kind_stays_whole(model: dict[str, Any], tiny_table: Path) -> None:
    assert split(changed(content_of(tiny_table), **model)) is None


@pytest.mark.parametrize(("word", "number"), [("[NEW]", 31), ("cat", 30), ("cat", 3.0)])
def test_an_added_token_that_is_not_in_the_vocabulary(
    word: str, number: float, tiny_table: Path
) -> None:
    plain = json.loads(content_of(tiny_table))
    plain["added_tokens"] += [{**plain["added_tokens"][0], "content": word, "id": number}]
    apart = split(json.dumps(plain).encode())
    assert (apart is None) == (plain["model"]["vocab"].get(word) != number)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"null", b"\xff", b"\xef\xbb\xbf{}", b'{"model": {}}']
)
def test_what_is_no_tokenizer_stays_whole(content: bytes) -> None:
    assert split(content) is None


def test_an_encoder_reads_it_from_the_copy(
    tiny_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = TextEncoder(tiny_table, mapped=False).token_ids(TEXTS)
    TextEncoder(tiny_table)
    monkeypatch.setattr(WeightTable, "read_role", None)
    assert TextEncoder(tiny_table).token_ids(TEXTS) == wanted


def test_a_copy_without_it_does_as_well(tiny_table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_writer, "split", lambda _content: None)
    first = TextEncoder(tiny_table)
    assert first._loader.mapped_copy is not None
    assert first._loader.mapped_copy.tokenizer is None
    assert TextEncoder(tiny_table).token_ids(TEXTS) == first.token_ids(TEXTS)


@pytest.mark.parametrize(
    ("rest", "words"),
    [("{}", seal.MARK + "0" * 64), ("{}", "x" * (3 << 20)), ("x" * (3 << 20), "a")],
    ids=["seal", "many words", "many rules"],
)
def test_what_would_harm_the_header_is_left_out(
    rest: str, words: str, tiny_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_writer, "split", lambda _content: SplitTokenizer(rest, words))
    copy = WeightLoader(tiny_table, mapped=True).mapped_copy
    assert copy is not None
    assert copy.tokenizer is None


def test_a_changed_word_is_found(tiny_table: Path) -> None:
    table = WeightTable(tiny_table)
    WeightLoader(tiny_table, mapped=True)
    path = mapped_path(table)
    content = path.read_bytes()
    assert content.count(b"\ncat\n") == 2, "in the header and in the footer"
    path.write_bytes(content.replace(b"\ncat\n", b"\ncut\n"))
    with pytest.raises(CorruptWeightTableError, match="its header"):
        MappedCopy(path, table.fingerprint)
    assert TextEncoder(tiny_table).token_ids("cat") == TextEncoder(
        tiny_table, mapped=False
    ).token_ids("cat")


def test_a_sealed_tokenizer_that_is_not_the_models_is_found_by_verify(
    tiny_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = split(content_of(tiny_table))
    assert right is not None
    wrong = SplitTokenizer(right.rest, right.words.replace("cat", "cut"))
    monkeypatch.setattr(mapped_writer, "split", lambda _content: wrong)
    monkeypatch.setattr(MappedCopy, "verify", lambda *_: None)
    loader = WeightLoader(tiny_table, mapped=True)
    monkeypatch.undo()
    with pytest.raises(CorruptWeightTableError, match="the tokenizer"):
        loader.verify()
