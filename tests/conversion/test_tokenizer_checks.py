"""What stands beside ``tokenizer.json`` is honoured or refused, never overheard."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from llm_compression import ArrowEngine, convert
from llm_compression.errors import (
    CheckpointError,
    ConversionError,
    InputError,
    UnknownArchitectureError,
)
from llm_compression.multimodal.text.tokenizer import TextTokenizer
from llm_compression.spec.model import TokenizerSpec
from llm_compression.weights.reader import WeightTable
from tests.conftest import CheckpointFactory, write_json
from tests.conversion.checkpoints import edit_config, edit_json

NEW = "covid"
DECODER = {"content": NEW, "lstrip": False, "rstrip": False, "single_word": False}


def refuse(bert: Path, target: Path, *words: str, kind: type[ConversionError]) -> None:
    with pytest.raises(kind) as caught:
        convert(bert, target)
    assert all(word in str(caught.value) for word in (str(bert), *words))
    assert list(target.parent.iterdir()) == []


def in_config(**stated: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "tokenizer_config.json", **stated)


def in_map(**stated: Any) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / "special_tokens_map.json", stated)


ADDED: dict[str, Callable[[Path], None]] = {
    "added_tokens.json": lambda folder: write_json(folder / "added_tokens.json", {NEW: 40}),
    "added_tokens_decoder": in_config(added_tokens_decoder={"40": DECODER}),
    "additional_special_tokens": in_config(additional_special_tokens=[NEW]),
    "extra_special_tokens": in_config(extra_special_tokens={"virus": NEW}),
    "special_tokens_map.json": in_map(additional_special_tokens=[{"content": NEW}]),
}


@pytest.mark.parametrize("edit", ADDED.values(), ids=ADDED)
def test_an_added_token_that_the_tokenizer_lacks(
    edit: Callable[[Path], None], bert: Path, target: Path
):
    edit(bert)
    refuse(bert, target, repr(NEW), "save_pretrained", kind=CheckpointError)


@pytest.mark.parametrize("edit", ADDED.values(), ids=ADDED)
def test_an_added_token_that_the_tokenizer_has(
    edit: Callable[[Path], None], bert: Path, target: Path
):
    tokenizer = Tokenizer.from_file(str(bert / "tokenizer.json"))
    while tokenizer.get_vocab_size() < 40:
        tokenizer.add_tokens([f"filler{tokenizer.get_vocab_size()}"])
    tokenizer.add_tokens([NEW])
    assert tokenizer.token_to_id(NEW) == 40
    tokenizer.save(str(bert / "tokenizer.json"))
    edit(bert)
    convert(bert, target)
    assert 40 in ArrowEngine(target).token_ids([f"a {NEW} test"])[0]


def test_an_id_or_a_flag_that_is_stated_otherwise(bert: Path, target: Path):
    in_config(added_tokens_decoder={"7": {**DECODER, "content": "[MASK]"}})(bert)
    refuse(bert, target, "'[MASK]' with id 7", kind=CheckpointError)
    in_config(added_tokens_decoder={"4": {**DECODER, "content": "[MASK]", "lstrip": True}})(bert)
    refuse(bert, target, "lstrip of token '[MASK]'", kind=CheckpointError)


@pytest.mark.parametrize("edit", [in_config(cls_token="[MASK]"), in_map(sep_token="[MASK]")])
def test_the_ends_of_a_text_that_are_stated_otherwise(
    edit: Callable[[Path], None], bert: Path, target: Path
):
    edit_json(bert / "tokenizer_config.json", tokenizer_class="BertTokenizerFast")
    edit(bert)
    refuse(bert, target, "is '[MASK]'", "['[CLS]', '[SEP]']", kind=CheckpointError)


def test_special_tokens_that_are_split(bert: Path, target: Path):
    in_config(split_special_tokens=True)(bert)
    refuse(bert, target, "split_special_tokens", kind=UnknownArchitectureError)


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": None},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}},
        {"pre_tokenizer": {"type": "WhitespaceSplit"}},
    ],
)
def test_another_pipeline_than_that_of_the_class(
    change: dict[str, object], bert: Path, target: Path
):
    edit_json(bert / "tokenizer_config.json", tokenizer_class="BertTokenizer")
    convert(bert, target)
    target.unlink()
    edit_json(bert / "tokenizer.json", **change)
    refuse(bert, target, "name PreTrainedTokenizerFast", kind=CheckpointError)
    edit_json(bert / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    convert(bert, target)


@pytest.mark.parametrize("place", ["tokenizer_config.json", "config.json"])
def test_the_vocabulary_of_another_class(place: str, bert: Path, target: Path):
    (bert / "tokenizer.json").unlink()
    (bert / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n東\n")
    edit_json(bert / "tokenizer_config.json", drop=("tokenizer_class",))
    edit_json(bert / place, tokenizer_class="BertJapaneseTokenizer")
    refuse(bert, target, "BertJapaneseTokenizer", kind=UnknownArchitectureError)


def without_unknown() -> str:
    tokenizer = Tokenizer(models.WordPiece({"[CLS]": 0, "the": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str()


def test_no_token_for_what_is_unknown(bert: Path, target: Path):
    (bert / "tokenizer.json").write_text(without_unknown())
    refuse(bert, target, "no token for what it does not know", kind=CheckpointError)


def test_no_token_for_what_is_unknown_in_a_table_of_before():
    spec = TokenizerSpec(pad_token_id=0, lowercase=False, truncation_side="right")
    tokenizer = TextTokenizer(without_unknown().encode(), spec, 8)
    assert tokenizer.encode(["the"])[0].ids == [1]
    with pytest.raises(InputError, match="cannot take the inputs"):
        tokenizer.encode(["dog"])


def byte_level(folder: Path) -> None:
    """A byte-level BPE of RoBERTa's kind; with a space before it "a" is another token."""
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {t: i for i, t in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters])}
    vocabulary["Ġa"] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "a")], unk_token="<unk>"))
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    ends = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "RobertaTokenizer", "pad_token": "<pad>", "unk_token": "<unk>",
         "mask_token": "<mask>", **ends},
    )  # fmt: skip


@pytest.mark.parametrize("stated", [{}, {"add_prefix_space": False}, {"add_prefix_space": True}])
def test_the_first_space_of_roberta(
    stated: dict[str, bool], make_checkpoint: CheckpointFactory, target: Path
):
    from transformers import AutoTokenizer

    checkpoint = make_checkpoint("roberta", vocab_size=300, pad_token_id=1)
    byte_level(checkpoint)
    edit_json(checkpoint / "tokenizer_config.json", **stated)
    convert(checkpoint, target)
    texts = ["a cat", " a cat", "the a"]
    theirs = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)(texts)["input_ids"]
    assert ArrowEngine(target, mapped=False).token_ids(texts) == theirs
    content = WeightTable(target).read_file("tokenizer.json")
    first = json.loads(content)["pre_tokenizer"]["add_prefix_space"]
    assert first is bool(stated.get("add_prefix_space"))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"auto_map": {"AutoConfig": "c.C", "AutoModel": "m.M"}}, "auto_map"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
    ],
)
def test_models_with_code_or_kernels_of_their_own(
    change: dict[str, object], word: str, bert: Path, target: Path
):
    edit_config(bert, **change)
    refuse(bert, target, word, kind=UnknownArchitectureError)


def test_a_special_token_that_is_stated_is_found_before_any_other(bert: Path, target: Path):
    """As transformers adds each that is stated; a pad token "!" is a habit of some CLIPs."""
    in_config(pad_token="!")(bert)
    convert(bert, target)
    assert ArrowEngine(target).token_ids(["the!cat"])[0] == [
        2, *(Tokenizer.from_file(str(bert / "tokenizer.json")).token_to_id(t)
             for t in ("the", "!", "cat")), 3,
    ]  # fmt: skip
    added = Tokenizer.from_str(WeightTable(target).read_file("tokenizer.json").decode())
    assert "!" in {token.content for token in added.get_added_tokens_decoder().values()}
