"""Prompts: the texts that a model wants in front of its inputs."""

from collections.abc import Mapping
from dataclasses import dataclass

from llm_compression.errors import InputError

_UNSET = ("query", "document")  # known to every model; empty where it stores none
_DOCUMENT = ("document", "passage", "corpus")  # in sentence-transformers' order


@dataclass(frozen=True)
class Prompts:
    """A model's prompts by name, and the name of the one used unasked."""

    by_name: Mapping[str, str]
    default: str | None

    @property
    def query(self) -> str:
        """The prompt of queries, empty if the model has none."""
        return self.by_name.get("query", "")

    @property
    def document(self) -> str:
        """The prompt of documents, empty if the model has none."""
        return next((self.by_name[name] for name in _DOCUMENT if name in self.by_name), "")

    def choose(self, prompt_name: str | None = None, prompt: str | None = None) -> str:
        """The prompt for these two arguments of `ArrowEngine.encode`.

        Raises:
            InputError: the model has no prompt of that name, or the prompt is no string.
        """
        if prompt is not None and not isinstance(prompt, str):
            raise InputError(f"prompt is {type(prompt).__name__}, not a string")
        if prompt_name is not None and not isinstance(prompt_name, str):
            raise InputError(f"prompt_name is {type(prompt_name).__name__}, not a string")
        name = self.default if prompt_name is None else prompt_name
        if prompt is not None or name is None:
            return prompt or ""
        if name in self.by_name:
            return self.by_name[name]
        if name in _UNSET:
            return ""
        known = ", ".join(sorted(self.by_name)) or "none"
        raise InputError(f"the model has no prompt {name!r}; its prompts: {known}")
