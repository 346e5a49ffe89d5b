"""What the arguments of sentence-transformers mean here, and which mean nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from llm_compression.conversion.hub import is_hub_id
from llm_compression.errors import InputError
from llm_compression.files.paths import user_path

_ORGANISATION = "sentence-transformers"  # of hub ids that name none
# Arguments of the library that mean nothing here, and the values that ask for nothing.
_IDLE: dict[str, tuple[object, ...]] = {
    "modules": (None,),
    "trust_remote_code": (False,),
    "use_auth_token": (None,),
    "model_kwargs": (None,),
    "processor_kwargs": (None,),
    "tokenizer_kwargs": (None,),
    "config_kwargs": (None,),
    "model_card_data": (None,),
    "backend": ("torch",),
    "pool": (None,),
    "chunk_size": (None,),
}


def with_owner(model: Any) -> Any:
    """A hub id without owner is one of the library's own organisation."""
    bare = isinstance(model, str) and "/" not in model and is_hub_id(model)
    return f"{_ORGANISATION}/{model}" if bare and not user_path(str(model)).exists() else model


def inputs_of(inputs: Any, others: dict[str, Any]) -> Any:
    """The inputs, which older releases call ``sentences``."""
    if "sentences" not in others:
        return inputs
    if inputs is not None:
        raise InputError("inputs and sentences are two names of one argument; give one")
    return others.pop("sentences")


def refuse(arguments: Mapping[str, object]) -> None:
    """Raise for the first argument that asks for what is not here.

    Raises:
        InputError: names it.
    """
    for name, value in arguments.items():
        if name not in _IDLE:
            raise InputError(f"{name} is no argument of this SentenceTransformer")
        if value not in _IDLE[name]:
            raise InputError(
                f"{name}={value!r} means nothing here, where models are weight tables; leave it "
                "out, or use sentence-transformers itself"
            )


def as_array(embeddings: Any) -> np.ndarray:
    """Embeddings as the library takes them, as an array."""
    if isinstance(embeddings, (list, tuple)) and embeddings and hasattr(embeddings[0], "shape"):
        return np.stack([as_array(row) for row in embeddings])
    if isinstance(embeddings, torch.Tensor):
        embeddings = embeddings.detach().cpu()
        floating = embeddings.is_floating_point()  # numpy does not know bfloat16
        array: np.ndarray = (embeddings.float() if floating else embeddings).numpy()
        return array
    return np.asarray(embeddings)
