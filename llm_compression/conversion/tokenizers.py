"""The tokenizer of a checkpoint as one ``tokenizer.json``, checked against the vocabulary."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer
from tokenizers.models import WordPiece

from llm_compression.conversion.source import read_json_object
from llm_compression.conversion.tokenizer_checks import check_stated, with_special_tokens
from llm_compression.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    UnknownArchitectureError,
)
from llm_compression.spec.model import TokenizerSpec

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
_VOCAB = "vocab.txt"
_BERT_CLASSES = ("BertTokenizer", "DistilBertTokenizer")
_GENERIC = ("PreTrainedTokenizer", "TokenizersBackend")  # they name no algorithm
_CLASS_OF = {  # by model_type
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "clip": "CLIPTokenizer",
    "clip_text_model": "CLIPTokenizer",
}
Restate = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any] | None]
_UNLIMITED = 1 << 20  # transformers writes 1e30 where a tokenizer has no limit


def tokenizer_json(folder: Path, model_type: str) -> bytes:
    """``tokenizer.json`` as transformers runs it, or one built from BERT's ``vocab.txt``.

    Raises:
        CheckpointNotFoundError: the folder has neither.
        CheckpointError: ``tokenizer.json`` is not that of the class that is named beside it.
        UnknownArchitectureError: ``vocab.txt`` belongs to another class than BERT's.
    """
    config, named = tokenizer_config(folder), tokenizer_class(folder, model_type)
    if (folder / TOKENIZER).is_file():
        content = (folder / TOKENIZER).read_bytes()
        restate = _RESTATED.get(named or "")
        content = _restated(content, config, restate, folder) if restate else content
        return with_special_tokens(content, folder, config)
    if (folder / _VOCAB).is_file():
        if named not in (*_BERT_CLASSES, *_GENERIC):
            raise UnknownArchitectureError(
                f"{folder} has no {TOKENIZER}, and {_VOCAB} of {named}, which is not BERT's own; "
                "write it with transformers: AutoTokenizer.from_pretrained(folder)"
                ".save_pretrained(folder), if that class can"
            )
        return _from_vocab(folder).to_str().encode()
    raise CheckpointNotFoundError(
        f"{folder} has no {TOKENIZER}; write one with transformers: "
        "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
    )


def tokenizer_class(folder: Path, model_type: str) -> str | None:
    """The class that transformers would take, ``Fast`` left out; None if nothing says which."""
    path = folder / "config.json"
    stated = tokenizer_config(folder).get("tokenizer_class")
    if stated is None and path.is_file():
        stated = read_json_object(path).get("tokenizer_class")
    named = stated or _CLASS_OF.get(model_type)
    return named.removesuffix("Fast") if isinstance(named, str) else None


def _restated(content: bytes, config: Mapping[str, Any], restate: Restate, folder: Path) -> bytes:
    """The pipeline with the settings of ``tokenizer_config.json``, which win over the file's."""
    try:
        tokenizer = json.loads(content)
        stated = restate(tokenizer, config)
    except (ValueError, LookupError, TypeError, AttributeError):  # no tokenizer: checked later
        return content
    if stated is None:
        raise CheckpointError(
            f"{folder / TOKENIZER} is not the pipeline of the tokenizer class that "
            f"{TOKENIZER_CONFIG} or the model's type names, which transformers would build anew; "
            f"name PreTrainedTokenizerFast in {TOKENIZER_CONFIG} if the file is right"
        )
    same = {**tokenizer, **stated} == tokenizer
    return content if same else json.dumps({**tokenizer, **stated}, ensure_ascii=False).encode()


def _bert_pipeline(
    tokenizer: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any] | None:
    """transformers/models/bert/tokenization_bert.py, BertTokenizer.__init__, defaults included."""
    normalizer, model = tokenizer["normalizer"] or {}, tokenizer["model"]
    own = (
        normalizer.get("type") == "BertNormalizer"
        and normalizer.get("clean_text", True)
        and (tokenizer["pre_tokenizer"] or {}).get("type") == "BertPreTokenizer"
        and model.get("type", "WordPiece") == "WordPiece"
        and model.get("continuing_subword_prefix", "##") == "##"
        and model.get("max_input_chars_per_word", 100) == 100
    )
    if not own:
        return None
    stated = {
        **normalizer,
        "lowercase": config.get("do_lower_case", True),
        "strip_accents": config.get("strip_accents"),
        "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
    }
    return {"normalizer": stated}


def _roberta_pipeline(
    tokenizer: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any] | None:
    """transformers/models/roberta/tokenization_roberta.py, RobertaTokenizer.__init__."""
    before = tokenizer["pre_tokenizer"] or {}
    own = before.get("type") == "ByteLevel" and before.get("use_regex", True)
    if not own or tokenizer["normalizer"] is not None or tokenizer["model"]["type"] != "BPE":
        return None
    space = bool(config.get("add_prefix_space", False))
    return {"pre_tokenizer": {**before, "add_prefix_space": space}}


def _xlm_roberta_pipeline(
    _tokenizer: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Its file is taken as it stands; a text without its first space would be another pipeline."""
    return {} if config.get("add_prefix_space", True) else None


def _clip_pipeline(
    tokenizer: Mapping[str, Any], _config: Mapping[str, Any]
) -> dict[str, Any] | None:
    """transformers/models/clip/tokenization_clip.py, CLIPTokenizer.__init__."""
    steps = [step["type"] for step in (tokenizer["normalizer"] or {}).get("normalizers", [])]
    own = steps == ["NFC", "Replace", "Lowercase"] and tokenizer["model"]["type"] == "BPE"
    return {} if own and tokenizer["model"].get("end_of_word_suffix") == "</w>" else None


_RESTATED: dict[str, Restate] = {
    **dict.fromkeys(_BERT_CLASSES, _bert_pipeline),
    "RobertaTokenizer": _roberta_pipeline,
    "XLMRobertaTokenizer": _xlm_roberta_pipeline,
    "CLIPTokenizer": _clip_pipeline,
}


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


def check_tokenizer(content: bytes, vocab_size: int, where: Path, model_type: str) -> Tokenizer:
    """The tokenizer, if it is as stated and every id it can give has a row in the table.

    Raises:
        CheckpointError: it does not parse, is stated otherwise, or ids go beyond ``vocab_size``.
        UnknownArchitectureError: a setting that is not supported.
    """
    try:
        tokenizer = Tokenizer.from_str(content.decode())
    except Exception as error:  # the Rust side raises plain Exception
        raise CheckpointError(f"{where / TOKENIZER} is not a tokenizer: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
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
    config, named = tokenizer_config(where), tokenizer_class(where, model_type)
    check_stated(where, tokenizer, config, named)
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


def check_room(tokenizer: Tokenizer, longest: int, where: Path) -> None:
    """Refuse a maximum that leaves no token to a text.

    Raises:
        CheckpointError: the special tokens fill it.
    """
    special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if longest <= special:
        raise CheckpointError(
            f"{where}: a maximum of {longest} tokens leaves no room for a text beside the "
            f"{special} special tokens"
        )
