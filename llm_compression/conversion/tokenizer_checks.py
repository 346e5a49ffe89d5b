"""What the files beside ``tokenizer.json`` say of it must be so, or the checkpoint is refused."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from llm_compression.conversion.source import read_json_object
from llm_compression.errors import CheckpointError, UnknownArchitectureError

ADDED_TOKENS = "added_tokens.json"
SPECIAL_TOKENS = "special_tokens_map.json"
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
          "mask_token")  # fmt: skip
_LISTS = ("additional_special_tokens", "extra_special_tokens")
_FLAGS = ("lstrip", "rstrip", "single_word")
_FIRST_AND_LAST = {  # what a text begins and ends with, by class
    "BertTokenizer": ("cls_token", "sep_token"),
    "DistilBertTokenizer": ("cls_token", "sep_token"),
    "RobertaTokenizer": ("cls_token", "sep_token"),
    "XLMRobertaTokenizer": ("bos_token", "eos_token"),
    "CLIPTokenizer": ("bos_token", "eos_token"),
}
_ODD_TEXT = "\U0001f984 \u0378 \u0001"  # letters that a small vocabulary lacks
_REMEDY = (
    "write the tokenizer's files anew with transformers: "
    "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
)


def check_stated(
    folder: Path, tokenizer: Tokenizer, config: Mapping[str, Any], named: str | None
) -> None:
    """Compare ``tokenizer`` with ``tokenizer_config.json`` and the files of added tokens.

    ``named`` is the class that transformers would take, its ``Fast`` left out.

    Raises:
        CheckpointError: a token, its id or the ends of a text are stated otherwise.
        UnknownArchitectureError: a setting that is not supported.
    """
    if config.get("split_special_tokens"):
        raise UnknownArchitectureError(f"{folder}: split_special_tokens is not supported")
    special = {**_optional(folder / SPECIAL_TOKENS), **config}
    _check_added(folder, tokenizer, special)
    _check_ends(folder, tokenizer, special, named)
    try:
        tokenizer.encode(_ODD_TEXT)
    except Exception as error:  # the Rust side raises plain Exception
        raise CheckpointError(
            f"{folder}: the tokenizer has no token for what it does not know: {error}; {_REMEDY}"
        ) from error


def with_special_tokens(content: bytes, folder: Path, config: Mapping[str, Any]) -> bytes:
    """``tokenizer.json`` in which every special token of its vocabulary that is stated is one.

    transformers adds them as it loads: tokenization_utils_tokenizers.py. A pad token "!" is then
    found in a text before any merge.
    """
    try:
        tokenizer = Tokenizer.from_str(content.decode())
    except Exception:  # no tokenizer: checked later
        return content
    stated = {**_optional(folder / SPECIAL_TOKENS), **config}
    own = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    named = {_content(stated.get(name)) for name in _NAMED} - own - {None}
    lacking = sorted(token for token in named if token and tokenizer.token_to_id(token) is not None)
    if not lacking:
        return content
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in lacking])
    return tokenizer.to_str().encode()


def _check_added(folder: Path, tokenizer: Tokenizer, stated: Mapping[str, Any]) -> None:
    own = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    for content, number, flags in _added(folder, stated):
        if content not in own or number not in (None, tokenizer.token_to_id(content)):
            raise CheckpointError(
                f"{folder} adds token {content!r}"
                f"{'' if number is None else f' with id {number}'}, which its tokenizer has not; "
                f"{_REMEDY}"
            )
        if flag := _different(own[content], flags):
            raise CheckpointError(
                f"{folder} states {flag} of token {content!r} otherwise than its tokenizer; "
                f"{_REMEDY}"
            )


def _added(
    folder: Path, stated: Mapping[str, Any]
) -> Iterator[tuple[str, int | None, Mapping[str, Any]]]:
    """Content, id if it is said, and flags of every token that is said to be added."""
    for added, id_ in _optional(folder / ADDED_TOKENS).items():
        yield added, id_, {}
    decoder = stated.get("added_tokens_decoder") or {}
    for number, token in decoder.items() if isinstance(decoder, dict) else ():
        if isinstance(token, dict) and isinstance(token.get("content"), str):
            yield token["content"], int(number), token
    for name in _LISTS:
        listed = stated.get(name) or []
        for token in listed.values() if isinstance(listed, dict) else listed:
            if content := _content(token):
                yield content, None, token if isinstance(token, dict) else {}


def _different(token: AddedToken, flags: Mapping[str, Any]) -> str | None:
    return next((f for f in _FLAGS if f in flags and bool(flags[f]) is not getattr(token, f)), None)


def _check_ends(
    folder: Path, tokenizer: Tokenizer, stated: Mapping[str, Any], named: str | None
) -> None:
    if named not in _FIRST_AND_LAST:
        return
    around = tokenizer.encode("").tokens
    for place, name in zip((0, -1), _FIRST_AND_LAST[named], strict=True):
        token = _content(stated.get(name))
        if token is not None and (not around or around[place] != token):
            raise CheckpointError(
                f"{folder}: {name} is {token!r}, but its tokenizer puts {around} around a text; "
                f"{_REMEDY}"
            )


def _content(token: object) -> str | None:
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def _optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}
