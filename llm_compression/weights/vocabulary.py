"""A tokenizer.json with the words of its vocabulary apart, as a mapped copy keeps it.

The tokenizers library takes a list of words sooner than it reads its own file.
"""

import json
from dataclasses import dataclass
from typing import Any

_KNOWN = {
    "type",
    "vocab",
    "unk_token",
    "continuing_subword_prefix",
    "max_input_chars_per_word",
}


@dataclass(frozen=True, slots=True)
class SplitTokenizer:
    """A WordPiece tokenizer.

    Args:
        rest: the JSON file, of whose vocabulary only the added tokens are left.
        words: the vocabulary in order of its ids, which start at 0, a word in a line.
    """

    rest: str
    words: str

    def whole(self) -> Any:
        """What the JSON file says."""
        plain = json.loads(self.rest)
        plain["model"]["vocab"] = {word: i for i, word in enumerate(self.words.split("\n"))}
        return plain


def split(content: bytes) -> SplitTokenizer | None:
    """A tokenizer.json apart; None where it is of another kind, or has other ids.

    An added token that the vocabulary lacks is given an id by the vocabulary's size.
    """
    try:
        plain = json.loads(content.decode())
        model, added = plain["model"], {t["content"]: t["id"] for t in plain["added_tokens"]}
        vocab: dict[str, int] = model["vocab"]
        if model["type"] != "WordPiece" or not model.keys() <= _KNOWN:
            return None
        if not added.items() <= vocab.items() or {*map(type, vocab.values())} != {int}:
            return None
        words = "\n".join(sorted(vocab, key=vocab.__getitem__))
        model["vocab"] = added
        found = SplitTokenizer(json.dumps(plain, ensure_ascii=False), words)
        found.words.encode()  # a lone surrogate is no text
        return found if found.whole() == json.loads(content) else None
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
