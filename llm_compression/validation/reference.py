"""The reference: the checkpoint run by transformers, with the same taps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from llm_compression.errors import MissingDependencyError, ParityError
from llm_compression.spec.block import NormPlacement
from llm_compression.spec.model import Family, ModelSpec
from llm_compression.spec.tensors import BLOCK
from llm_compression.spec.towers import Tower
from llm_compression.weights.schema import TensorEntry


class Place(Enum):
    """Where a tap is taken: what a module takes or gives, or what the module around it gives."""

    INPUT = "input"
    OUTPUT = "output"
    AROUND = "around"


@dataclass(frozen=True)
class Tapped:
    """One tap, of the module that our tensor ``weight`` came from.

    So every family is served without a table of its own.
    """

    name: str
    weight: str
    place: Place = Place.OUTPUT


def transformers() -> ModuleType:
    """The library.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import transformers as library
    except ImportError as error:
        raise MissingDependencyError(
            "validation compares with transformers; pip install 'llm-compression[validate]'"
        ) from error
    return library


def load_model(checkpoint: Path, spec: ModelSpec, tensors: Sequence[TensorEntry]) -> Any:
    """The checkpoint as transformers runs it in float32, in the plain form of attention.

    Raises:
        ParityError: it does not load, or loads without some of the weights of ``tensors``.
    """
    library = transformers()
    library.utils.logging.disable_progress_bar()
    sources = [entry.source for entry in tensors]
    with _quiet(library):  # it warns of weights that no tap needs; the others are checked below
        model, info = _loaded(
            _class(library, spec, sources),
            checkpoint,
            attn_implementation="eager",  # the textbook form, not a kernel that we may share
            output_loading_info=True,
        )
    _check_loaded(checkpoint, info["missing_keys"], sources)
    return model.float().eval()  # whatever dtype the checkpoint has, which release 5 would keep


def load_part(kind: Any, checkpoint: Path) -> Any:
    """The checkpoint's tokenizer or image processor, of class ``kind``; raises as `load_model`."""
    return _loaded(kind, checkpoint)


def _loaded(kind: Any, checkpoint: Path, **options: Any) -> Any:
    try:
        return kind.from_pretrained(checkpoint, local_files_only=True, **options)
    except Exception as error:  # whatever its code and the checkpoint's files run into
        raise ParityError(f"transformers cannot load {checkpoint}: {error}") from error


@contextmanager
def _quiet(library: ModuleType) -> Iterator[None]:
    before = library.utils.logging.get_verbosity()
    library.utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        library.utils.logging.set_verbosity(before)


def _check_loaded(checkpoint: Path, missing: Iterable[str], sources: Sequence[str]) -> None:
    """Refuse a model of which transformers left compared weights as they were drawn at random."""
    # its names may lack the prefix that the checkpoint has, and the other way round
    random = [
        name
        for name in sorted(missing)
        if any(f".{a}".endswith(f".{b}") for s in sources for a, b in ((s, name), (name, s)))
    ]
    if random:
        raise ParityError(
            f"transformers loads {checkpoint} without {random[0]} and {len(random) - 1} more "
            "weights that are compared; try another release of it"
        )


def _class(library: ModuleType, spec: ModelSpec, sources: Sequence[str]) -> Any:
    if "conv1.weight" in sources:  # an encoder that was saved by itself
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return WhisperEncoder
    return getattr(library, _class_name(spec))


def _class_name(spec: ModelSpec) -> str:
    if spec.family is Family.WHISPER:
        return "WhisperModel"
    if spec.family is not Family.CLIP:
        return "AutoModel"
    if len(spec.towers) == 2:
        return "CLIPModel"
    tower, alone = ("Text", spec.text) if spec.text else ("Vision", spec.vision)
    return f"CLIP{tower}Model{'WithProjection' if alone and alone.projection_dim else ''}"


def block_taps(tower: str, spec: Tower) -> list[Tapped]:
    """The hidden states after each sublayer."""
    taps = []
    for i in range(spec.num_layers):
        block, name = BLOCK.format(tower=tower, i=i), f"block.{i:02d}"
        if spec.block.norm_placement is NormPlacement.POST:  # a sublayer ends with its norm
            taps.append(Tapped(f"{name}.attn", f"{block}.attn_norm.weight"))
            taps.append(Tapped(f"{name}.mlp", f"{block}.mlp_norm.weight"))
        else:  # the second norm takes what attention left behind; the layer gives the rest
            taps.append(Tapped(f"{name}.attn", f"{block}.mlp_norm.weight", Place.INPUT))
            taps.append(Tapped(f"{name}.mlp", f"{block}.attn_norm.weight", Place.AROUND))
    return taps


@contextmanager
def tapping(
    model: Any, taps: Sequence[Tapped], tensors: Sequence[TensorEntry]
) -> Iterator[dict[str, torch.Tensor]]:
    """While open, a run of ``model`` fills the dict with its taps, without gradients.

    Raises:
        ParityError: the model has not the modules.
    """
    source = {entry.name: entry.source for entry in tensors}
    found: dict[str, torch.Tensor] = {}
    hooks = [_hook(_module(model, source[tap.weight], tap), tap, found) for tap in taps]
    try:
        with torch.no_grad():
            yield found
    except (RuntimeError, IndexError, AssertionError, ValueError) as error:
        raise ParityError(f"{type(model).__name__} cannot run the inputs: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()


def _module(model: Any, weight: str, tap: Tapped) -> Any:
    path = weight.rpartition(".")[0]
    if tap.place is Place.AROUND:
        path = path.rpartition(".")[0]
    modules = dict(model.named_modules())
    # full models put a prefix before the encoder; transformers 5 leaves one out that 4 wrote
    for name in (path, path.partition(".")[2], f"{model.base_model_prefix}.{path}"):
        if name in modules:
            return modules[name]
    raise ParityError(f"{type(model).__name__} has no module {path}; is it the same checkpoint?")


def _hook(module: Any, tap: Tapped, found: dict[str, torch.Tensor]) -> Any:
    def keep(value: Any) -> None:
        found[tap.name] = (value[0] if isinstance(value, tuple) else value).clone()

    if tap.place is Place.INPUT:
        return module.register_forward_pre_hook(lambda _module, inputs: keep(inputs))
    return module.register_forward_hook(lambda _module, _inputs, output: keep(output))


def numpy_taps(taps: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The taps as arrays."""
    return {name: value.numpy() for name, value in taps.items()}
