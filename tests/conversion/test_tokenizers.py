"""The tokenizer comes along, from either of its files, and fits the vocabulary."""

import warnings
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from llm_compression import ArrowEngine, convert
from llm_compression.errors import CheckpointError, CheckpointNotFoundError
from llm_compression.spec.model import TokenizerSpec
from llm_compression.weights.reader import WeightTable
from tests.conftest import WORDS, write_json
from tests.conversion.checkpoints import edit_json

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = [
    "the cat sits on a mat.",
    "Unable CATS, runs!",
    "a ca\u0301t in the pärk : query",
    "日本 red",
    "",
    "the\tcat\u00a0dog\n\u200b\x07 !",
]


def vocabulary(folder: Path, tokens: list[str]) -> None:
    """Leave the folder with BERT's old ``vocab.txt`` alone."""
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")


def spec(table: Path) -> TokenizerSpec:
    return WeightTable(table).manifest.spec.tokenizer


def test_the_file_is_carried_to_the_byte(bert: Path, target: Path):
    convert(bert, target)
    content = (bert / "tokenizer.json").read_bytes()
    assert WeightTable(target).read_file("tokenizer.json") == content


def test_a_vocabulary_alone_works_like_the_tokenizer(bert: Path, tiny_table: Path, target: Path):
    vocabulary(bert, [*SPECIAL, *WORDS.split()])
    convert(bert, target)
    ours = ArrowEngine(target, mapped=False).token_ids(TEXTS)
    assert ours == ArrowEngine(tiny_table, mapped=False).token_ids(TEXTS)
    assert any(len(ids) > 3 for ids in ours)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": True, "strip_accents": False},
        {"do_lower_case": False, "strip_accents": True},
        {"tokenize_chinese_chars": False},
    ],
)
def test_a_vocabulary_alone_works_as_in_transformers(
    options: dict[str, bool], bert: Path, target: Path
):
    from transformers import BertTokenizerFast

    tokens = [*SPECIAL, *WORDS.split(), "Unable", "cát", "日", "本", "日本", "pärk", "Ä"]
    vocabulary(bert, tokens)
    write_json(bert / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", **options})
    convert(bert, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        reference = BertTokenizerFast.from_pretrained(bert)
    texts = [*TEXTS, "[MASK] the [SEP] dog", "Unable Cát cát PÄRK ä Ä 日本"]
    assert ArrowEngine(target, mapped=False).token_ids(texts) == reference(texts)["input_ids"]


@pytest.mark.parametrize("extra", [1, 24, 1000])
def test_a_tokenizer_too_big_for_the_vocabulary(extra: int, bert: Path, target: Path):
    tokenizer = Tokenizer.from_file(str(bert / "tokenizer.json"))
    room = 64 - tokenizer.get_vocab_size()
    tokenizer.add_tokens([f"extra{i}" for i in range(room)])
    tokenizer.save(str(bert / "tokenizer.json"))
    convert(bert, target)  # exactly full
    target.unlink()
    tokenizer.add_tokens([f"beyond{i}" for i in range(extra)])
    tokenizer.save(str(bert / "tokenizer.json"))
    with pytest.raises(CheckpointError) as caught:
        convert(bert, target)
    message = str(caught.value)
    assert f"'beyond{extra - 1}' has id {63 + extra}, config.json has vocab_size 64" in message
    assert str(bert / "tokenizer.json") in message
    assert list(target.parent.iterdir()) == []


def test_a_vocabulary_too_big(bert: Path, target: Path):
    vocabulary(bert, [*SPECIAL, *(f"w{i}" for i in range(60))])
    with pytest.raises(CheckpointError, match=r"'w59' has id 64, config\.json has vocab_size 64"):
        convert(bert, target)


@pytest.mark.parametrize("content", [b"", b"{}", b"nonsense", b"\xff\xfe", b"[]", b'{"model": {}}'])
def test_a_file_that_is_no_tokenizer(content: bytes, bert: Path, target: Path):
    (bert / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer"):
        convert(bert, target)


@pytest.mark.parametrize(
    "content", [b"", b"the\ncat\n", b"[PAD]\n[UNK]\n[CLS]\n", b"\xff\xfe\x00", b"[PAD]\n\xff\n"]
)
def test_a_file_that_is_no_vocabulary(content: bytes, bert: Path, target: Path):
    vocabulary(bert, [])
    (bert / "vocab.txt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"vocab\.txt"):
        convert(bert, target)


def test_no_tokenizer_at_all(bert: Path, target: Path):
    (bert / "tokenizer.json").unlink()
    with pytest.raises(CheckpointNotFoundError) as caught:
        convert(bert, target)
    assert f"{bert} has no tokenizer.json" in str(caught.value)
    assert "save_pretrained" in str(caught.value)


@pytest.mark.parametrize("pad", ["[MASK]", {"content": "[MASK]", "lstrip": False}])
def test_the_padding_token_is_the_tokenizers_own(pad: object, bert: Path, target: Path):
    edit_json(bert / "tokenizer_config.json", pad_token=pad)
    convert(bert, target)
    assert spec(target).pad_token_id == 4


@pytest.mark.parametrize("pad", [None, "[NOT THERE]"])
def test_the_padding_token_is_else_that_of_the_config(pad: object, bert: Path, target: Path):
    edit_json(bert / "config.json", pad_token_id=3)
    edit_json(bert / "tokenizer_config.json", pad_token=pad)
    convert(bert, target)
    assert spec(target).pad_token_id == 3


def test_the_side_that_is_cut(bert: Path, target: Path):
    convert(bert, target)
    assert spec(target).truncation_side == "right"
    edit_json(bert / "tokenizer_config.json", truncation_side="left")
    convert(bert, target)
    assert spec(target).truncation_side == "left"


@pytest.mark.parametrize("side", ["up", 3, None, []])
def test_a_side_that_is_none(side: object, bert: Path, target: Path):
    edit_json(bert / "tokenizer_config.json", truncation_side=side)
    with pytest.raises(CheckpointError, match="truncation_side"):
        convert(bert, target)


def test_without_a_tokenizer_config(bert: Path, target: Path):
    (bert / "tokenizer_config.json").unlink()
    convert(bert, target)
    assert spec(target) == TokenizerSpec(0, lowercase=False, truncation_side="right")


@pytest.mark.parametrize("content", ["", "[]", "nonsense"])
def test_a_tokenizer_config_that_is_none(content: str, bert: Path, target: Path):
    (bert / "tokenizer_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json"):
        convert(bert, target)
