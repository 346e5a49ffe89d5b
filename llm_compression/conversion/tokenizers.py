"""The tokenizer of a checkpoint as one ``tokenizer.json``, checked against the vocabulary."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer
from tokenizers.models import WordPiece

from llm_compression.conversion.source import read_json_object
from llm_compression.errors import CheckpointError, CheckpointNotFoundError
from llm_compression.spec.model import TokenizerSpec

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
_VOCAB = "vocab.txt"
_CLASS_OF = {"bert": "BertTokenizer", "distilbert": "DistilBertTokenizer"}  # by model_type
_BERT_CLASSES = {name + fast for name in _CLASS_OF.values() for fast in ("", "Fast")}
_UNLIMITED = 1 << 20  # transformers writes 1e30 where a tokenizer has no limit


def tokenizer_json(folder: Path, model_type: str) -> bytes:
    """``tokenizer.json`` as transformers runs it, or one built from BERT's ``vocab.txt``.

    Raises:
        CheckpointNotFoundError: the folder has neither.
    """
    if (folder / TOKENIZER).is_file():
        content = (folder / TOKENIZER).read_bytes()
        config = tokenizer_config(folder)
        named = config.get("tokenizer_class") or _CLASS_OF.get(model_type)
        return _as_stated(content, config) if named in _BERT_CLASSES else content
    if (folder / _VOCAB).is_file():
        return _from_vocab(folder).to_str().encode()
    raise CheckpointNotFoundError(
        f"{folder} has no {TOKENIZER}; write one with transformers: "
        "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
    )


def _as_stated(content: bytes, config: Mapping[str, Any]) -> bytes:
    """The normalizer as ``tokenizer_config.json`` has it, which wins over ``tokenizer.json``.

    transformers/models/bert/tokenization_bert.py, BertTokenizer.__init__, defaults included.
    """
    try:
        tokenizer = json.loads(content)
        normalizer = tokenizer["normalizer"]
        if normalizer["type"] != "BertNormalizer":
            return content
    except (ValueError, LookupError, TypeError):  # no tokenizer, or another kind: checked later
        return content
    stated = {
        **normalizer,
        "lowercase": config.get("do_lower_case", True),
        "strip_accents": config.get("strip_accents"),
        "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
    }
    if stated == normalizer:
        return content
    return json.dumps({**tokenizer, "normalizer": stated}, ensure_ascii=False).encode()


def _from_vocab(folder: Path) -> Tokenizer:
    config = tokenizer_config(folder)
    try:
        return BertWordPieceTokenizer(
            WordPiece.read_file(str(folder / _VOCAB)),
            lowercase=bool(config.get("do_lower_case", True)),
            strip_accents=config.get("strip_accents"),
            handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
        )._tokenizer
    except Exception as error:  # the Rust side raises plain Exception
        raise CheckpointError(f"{folder / _VOCAB} is not BERT's vocabulary: {error}") from error


def tokenizer_config(folder: Path) -> dict[str, Any]:
    """``tokenizer_config.json``, or nothing."""
    path = folder / TOKENIZER_CONFIG
    return read_json_object(path) if path.is_file() else {}


def check_tokenizer(content: bytes, vocab_size: int, where: Path) -> Tokenizer:
    """The tokenizer, if every id it can give has a row in the embedding table.

    Raises:
        CheckpointError: it does not parse, or ids go beyond ``vocab_size``.
    """
    try:
        tokenizer = Tokenizer.from_str(content.decode())
    except Exception as error:  # the Rust side raises plain Exception
        raise CheckpointError(f"{where / TOKENIZER} is not a tokenizer: {error}") from error
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    # the ids around every text come from the template, which may name any number
    vocabulary |= {f"around a text: {i}": i for i in tokenizer.encode("").ids}
    token = max(vocabulary, key=vocabulary.__getitem__, default=None)
    if token is None or vocabulary[token] >= vocab_size:
        raise CheckpointError(
            f"{where / TOKENIZER} does not fit the model: token {token!r} has id "
            f"{vocabulary.get(token or '')}, config.json has vocab_size {vocab_size}; "
            "take tokenizer and weights from one checkpoint"
        )
    return tokenizer


def tokenizer_spec(
    folder: Path, tokenizer: Tokenizer, pad_id: int, *, lowercase: bool, eos: int | None = None
) -> TokenizerSpec:
    """Padding and truncation side as the checkpoint states them."""
    config = tokenizer_config(folder)
    pad = config.get("pad_token")
    pad = pad.get("content") if isinstance(pad, dict) else pad
    found = tokenizer.token_to_id(pad) if isinstance(pad, str) else None
    return TokenizerSpec(
        pad_token_id=pad_id if found is None else found,
        lowercase=lowercase,
        truncation_side=config.get("truncation_side", "right"),
        eos_token_id=eos,
    )


def max_length(folder: Path, stated: int | None, positions: int) -> int:
    """sentence-transformers' rule: the stated length, else the tokenizer's, within positions."""
    if stated is None:
        limit = tokenizer_config(folder).get("model_max_length")
        stated = int(limit) if isinstance(limit, (int, float)) and limit < _UNLIMITED else positions
    return min(stated, positions)
