"""What every adapter needs: an engine that is open, and a word on a library that is missing."""

from pathlib import Path
from typing import Any, TypeVar

from llm_compression.errors import InputError, MissingDependencyError
from llm_compression.multimodal.pretrained import Pretrained

P = TypeVar("P", bound=Pretrained)


def open_as(kind: type[P], model: str | Path | P, **options: Any) -> P:
    """``model`` itself where it is open already, else what ``kind.from_pretrained`` opens.

    Raises:
        InputError: options for a model that is open already, or another kind of model.
    """
    if not isinstance(model, Pretrained):
        return kind.from_pretrained(model, **options)
    if not isinstance(model, kind):
        raise InputError(
            f"the model is open as {type(model).__name__}; open it as {kind.__name__}, or give "
            "its path"
        )
    if options:
        raise InputError(
            f"{', '.join(sorted(options))} cannot change a model that is open already; give its "
            "path, or open it so"
        )
    return model


def missing(library: str, extra: str) -> MissingDependencyError:
    """The error that an adapter's library is not installed."""
    return MissingDependencyError(
        f"this adapter needs {library}; pip install 'llm-compression[{extra}]'"
    )
