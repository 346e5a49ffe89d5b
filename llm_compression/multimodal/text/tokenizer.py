"""TextTokenizer: texts to token ids, cut to the model's maximum and counted before the cut."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tokenizers import Encoding, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import Lowercase, Normalizer
from tokenizers.normalizers import Sequence as NormalizerSequence

from llm_compression.errors import InputError
from llm_compression.spec.model import TokenizerSpec
from llm_compression.weights.vocabulary import SplitTokenizer


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text: its ids, special tokens included, and how many there were before truncation."""

    ids: list[int]
    count: int

    @property
    def truncated(self) -> bool:
        """Whether the text was longer than the maximum."""
        return self.count > len(self.ids)


class TextTokenizer:
    """A checkpoint's own ``tokenizer.json``.

    Args:
        content: the file's bytes, or what a mapped copy keeps of it.
        spec: padding, case and truncation side.
        max_length: tokens kept of a text, special tokens included.

    Raises:
        InputError: the content is no tokenizer, or ``max_length`` leaves no room for a text.
    """

    def __init__(
        self, content: bytes | SplitTokenizer, spec: TokenizerSpec, max_length: int
    ) -> None:
        self._spec = spec
        try:
            self._content = content.decode() if isinstance(content, bytes) else content
            self._whole = self._load()
        except Exception as error:  # the Rust side raises plain Exception
            raise InputError(f"the model's tokenizer cannot be used: {error}") from error
        self._whole.no_truncation()
        self.max_length = max_length

    @property
    def max_length(self) -> int:
        """Tokens kept of a text, special tokens included; setting it raises as creating does."""
        return self._max_length

    @max_length.setter
    def max_length(self, max_length: int) -> None:
        special = self._whole.num_special_tokens_to_add(is_pair=False)
        if max_length <= special:
            raise InputError(
                f"a maximum of {max_length} tokens leaves no room for a text beside the "
                f"{special} special tokens"
            )
        self._max_length = max_length
        self.__dict__.pop("_cutting", None)

    @cached_property
    def _cutting(self) -> Tokenizer:
        # A second instance: the first stays free of truncation, so that it can count tokens.
        tokenizer = self._load()
        tokenizer.enable_truncation(self.max_length, direction=self._spec.truncation_side)
        return tokenizer

    def _load(self) -> Tokenizer:
        content = self._content
        tokenizer = Tokenizer.from_str(content) if isinstance(content, str) else joined(content)
        tokenizer.no_padding()
        if self._spec.lowercase:
            tokenizer.normalizer = lowercasing(tokenizer.normalizer)
        return tokenizer

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of each text.

        Raises:
            InputError: a text is no string or holds a lone surrogate; the message says which.
        """
        texts = [_checked(text, i) for i, text in enumerate(texts)]
        try:
            encoded = _batch(self._whole, texts)
        except Exception as error:  # the Rust side raises plain Exception
            raise InputError(f"the model's tokenizer cannot take the inputs: {error}") from error
        return [self._cut(text, e) for text, e in zip(texts, encoded, strict=True)]

    def _cut(self, text: str, encoding: Encoding) -> Tokens:
        ids = encoding.ids
        if len(ids) <= self.max_length:
            return Tokens(ids, len(ids))
        return Tokens(self._cutting.encode(text).ids, len(ids))


def joined(apart: SplitTokenizer) -> Tokenizer:
    """The tokenizer whose vocabulary stood apart."""
    tokenizer, model = Tokenizer.from_str(apart.rest), json.loads(apart.rest)["model"]
    words = apart.words.split("\n")
    options = {name: value for name, value in model.items() if name not in ("type", "vocab")}
    tokenizer.model = WordPiece(dict(zip(words, range(len(words)), strict=True)), **options)
    return tokenizer


def lowercasing(normalizer: Normalizer | None) -> Normalizer:
    """Lowercase before ``normalizer``, special tokens left alone.

    sentence_transformers/base/modules/transformer.py, Transformer.__init__, do_lower_case.
    """
    return NormalizerSequence([Lowercase(), *([normalizer] if normalizer else [])])


def _batch(tokenizer: Tokenizer, texts: list[str]) -> list[Encoding]:
    # The fast form leaves out offsets, which nobody reads here.
    return list(tokenizer.encode_batch_fast(texts))


def _checked(text: object, index: int) -> str:
    if not isinstance(text, str):
        raise InputError(
            f"input {index} is {type(text).__name__}, not a string; pass str or a list of str"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"input {index} holds a lone surrogate at character {error.start}, which is no text; "
            "decode the source with errors='replace'"
        ) from None
    return text
