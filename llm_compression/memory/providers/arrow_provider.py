"""ArrowEngineProvider: texts by an ArrowEngine, and the one that a process shares."""

import os
import threading
from pathlib import Path

from llm_compression.engine.arrow_engine import ArrowEngine
from llm_compression.errors import InputError, ModalityUnavailableError
from llm_compression.files.paths import user_path
from llm_compression.memory.cache.cache import EmbeddingCache
from llm_compression.memory.providers.space_provider import SpaceProvider
from llm_compression.memory.providers.spaces import Model, settled
from llm_compression.multimodal.pretrained import Device
from llm_compression.weights.schema import MODEL_FILE

_VARIABLE = "ARROW_MODEL_PATH"


class ArrowEngineProvider(SpaceProvider):
    """Embeddings of texts by one model, which is opened at once.

    Args:
        model_path: a weight table, a folder with one or with a checkpoint, or a hub id.
        device: where the model computes, as of `TextEncoder`.
        normalize_embeddings: whether vectors have unit length where a call does not say.
        cache: where vectors are kept and looked for first.

    Raises:
        WeightTableError, ConversionError: the model cannot be opened.
        InputError: a device that is not here, or the model has no text tower.
    """

    def __init__(
        self,
        model_path: str | Path,
        device: Device = "cpu",
        normalize_embeddings: bool = True,  # noqa: FBT001, FBT002  the contract's
        *,
        cache: EmbeddingCache | None = None,
    ) -> None:
        super().__init__(
            {"text": Model("text", settled(model_path), device=device)},
            normalize_embeddings=normalize_embeddings,
            cache=cache,
            device=device,
        )
        self.engine: ArrowEngine = self._space("text").encoder

    def __reduce__(self) -> tuple[object, ...]:
        options = (self.engine.path, self.device, self.normalize_embeddings)
        return _reopen, (type(self), options, self.cache)


class _Shared:
    """The provider of this process, once there is one, and the place of its model."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.provider: ArrowEngineProvider | None = None
        self.place = ""


_shared = _Shared()


def get_default_provider(model_path: str | Path | None = None) -> ArrowEngineProvider:
    """The provider that all of a process share, opened by the first call.

    The model is at ``model_path``, else where the environment's ``ARROW_MODEL_PATH`` says at that
    moment. Later calls need no path; one that they give must be the first one's.

    Raises:
        ModalityUnavailableError: neither says where the model is.
        InputError: another model is open already.
        WeightTableError, ConversionError: the model cannot be opened.
    """
    with _shared.lock:
        if _shared.provider is None:
            path = model_path or os.environ.get(_VARIABLE)
            if not path:
                raise ModalityUnavailableError(
                    "no model for the default provider; pass model_path, or set "
                    f"{_VARIABLE} to a weight table, a checkpoint folder or a hub id"
                )
            _shared.provider, _shared.place = ArrowEngineProvider(path), _place(path)
        elif model_path is not None and _place(model_path) != _shared.place:
            raise InputError(
                f"the default provider has {_shared.place} open, not {_place(model_path)}; call "
                "reset_provider first, or make an ArrowEngineProvider of its own"
            )
        return _shared.provider


def reset_provider() -> None:
    """Forget the provider that the process shares; the next call opens one anew."""
    with _shared.lock:
        _shared.provider = None


def _place(path: str | Path) -> str:
    """A model's path, the same however it is spelled; a hub id as it is."""
    found = user_path(path)
    if not found.exists():
        return str(path)
    within = found / MODEL_FILE
    return os.path.realpath(within if within.is_file() else found)


def _reopen(
    kind: type[ArrowEngineProvider], options: tuple[Path, str, bool], cache: EmbeddingCache | None
) -> ArrowEngineProvider:
    return kind(*options, cache=cache)
