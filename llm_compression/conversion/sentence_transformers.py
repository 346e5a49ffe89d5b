"""What the files of sentence-transformers say: pooling, normalisation, length, prompts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_compression.conversion.source import read_json, read_json_object
from llm_compression.errors import CheckpointError, SpecError, UnknownArchitectureError
from llm_compression.spec.model import EmbeddingSpec, Pooling, Similarity

MODULES = "modules.json"
PROMPTS = "config_sentence_transformers.json"
_BERT_CONFIG = "sentence_{}_config.json"  # older releases put the model type into the name
_MODEL_TYPES = ("bert", "roberta", "distilbert", "xlm-roberta", "camembert", "albert", "mpnet")
_UNDERSTOOD = ("max_seq_length", "do_lower_case", "unpad_inputs", "model_args", "model_kwargs")
Plain = Mapping[str, tuple[object, ...]]  # what may stand under a key


def _reads(output: str | None) -> dict[str, object]:
    return {
        side: {"method": f"get_{side}_features", "method_output_name": output}
        for side in ("text", "image")
    }


PLAIN_TEXT: Plain = {  # what release 6 writes for a text model
    "transformer_task": ("feature-extraction",),
    "module_output_name": ("token_embeddings",),
    "modality_config": (
        {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    ),
}
PLAIN_CLIP: Plain = {  # and for a CLIP model, with transformers 5 and 4
    "transformer_task": ("feature-extraction",),
    "module_output_name": ("sentence_embedding",),
    "modality_config": (_reads("pooler_output"), _reads(None)),
}
_LEGACY_POOLING = {  # the keys of 1_Pooling/config.json before release 6
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_SUPPORTED = ("cls", "max", "mean", "lasttoken")


@dataclass(frozen=True)
class Modules:
    """The module list of a sentence-transformers folder; a CLIP model is one module alone."""

    transformer: Path  # relative to the checkpoint folder
    pooling: Pooling | None
    normalize: bool
    files: tuple[str, ...]  # relative names of the files read
    guessed: bool  # no modules.json: sentence-transformers itself takes mean pooling


def read_modules(folder: Path) -> Modules:
    """Where the transformer lies and how its output becomes an embedding.

    Raises:
        UnknownArchitectureError: a module or pooling mode that is not supported.
        CheckpointError: a file of the list is unreadable.
    """
    if not (folder / MODULES).is_file():
        return Modules(Path(), Pooling.MEAN, normalize=False, files=(), guessed=True)
    rows = read_json(folder / MODULES)
    if not isinstance(rows, list) or not all(isinstance(r, dict) and "type" in r for r in rows):
        raise CheckpointError(f"{folder / MODULES} is not a list of modules")
    kinds = [str(row["type"]).rsplit(".", 1)[-1] for row in rows]
    if kinds in (["CLIPModel"], ["Transformer"]):  # the second since release 6.2
        return Modules(
            _inside(folder, rows[0]), None, normalize=False, files=(MODULES,), guessed=False
        )
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UnknownArchitectureError(
            f"{folder / MODULES} chains {' > '.join(kinds)}; supported is "
            "Transformer > Pooling, with or without Normalize, and CLIPModel"
        )
    pooling = str(_inside(folder, rows[1]) / "config.json")
    if pooling == "config.json":
        raise CheckpointError(f"{folder / MODULES} gives the pooling no folder of its own")
    return Modules(
        transformer=_inside(folder, rows[0]),
        pooling=_pooling(read_json_object(folder / pooling), folder / pooling),
        normalize=len(kinds) == 3,
        files=(MODULES, pooling),
        guessed=False,
    )


def _inside(folder: Path, row: Mapping[str, Any]) -> Path:
    """The module's folder, relative; a checkpoint may not point out of its own."""
    path = Path(str(row.get("path", "")))
    if path.is_absolute() or ".." in path.parts:
        raise CheckpointError(f"{folder / MODULES} points out of its folder, to {str(path)!r}")
    return path


def _pooling(config: Mapping[str, Any], where: Path) -> Pooling:
    legacy = [mode for key, mode in _LEGACY_POOLING.items() if config.get(key)] or ["mean"]
    stated = config.get("pooling_mode")
    modes = legacy if stated is None else stated if isinstance(stated, list) else [stated]
    if not config.get("include_prompt", True):
        raise UnknownArchitectureError(f"{where}: include_prompt=false is not supported")
    supported = [mode for mode in _LEGACY_POOLING.values() if mode in _SUPPORTED]
    if len(modes) != 1 or modes[0] not in supported:
        raise UnknownArchitectureError(
            f"{where}: pooling {' + '.join(map(str, modes))} is not supported, "
            f"only one of {supported}"
        )
    return Pooling(modes[0])


def length_and_case(folder: Path, plain: Plain = PLAIN_TEXT) -> tuple[str | None, int | None, bool]:
    """File name, ``max_seq_length`` and ``do_lower_case`` of the transformer's own config.

    ``plain`` is what the config says of a model of this kind that is run as it is.
    """
    for model_type in _MODEL_TYPES:
        name = _BERT_CONFIG.format(model_type)
        if (folder / name).is_file():
            config = read_json_object(folder / name)
            _refuse_settings(config, folder / name, plain)
            length = config.get("max_seq_length")
            if length is not None and (type(length) is not int or length < 1):
                raise CheckpointError(f"{folder / name}: max_seq_length is {length!r}")
            return name, length, bool(config.get("do_lower_case", False))
    return None, None, False


def _refuse_settings(config: Mapping[str, Any], path: Path, plain: Plain) -> None:
    """Refuse what would change the model and is not understood here."""
    for key, value in config.items():
        if key in _UNDERSTOOD or value in (None, {}, []) or value in plain.get(key, ()):
            continue
        raise UnknownArchitectureError(
            f"{path}: {key} = {value!r} is not supported; remove it if the model does without"
        )


def embedding_spec(
    folder: Path, pooling: Pooling, max_seq_length: int, *, normalize: bool
) -> EmbeddingSpec:
    """Prompts and similarity as the checkpoint states them, with what others found out."""
    path = folder / PROMPTS
    config = read_json_object(path) if path.is_file() else {}
    if config.get("truncate_dim") is not None:
        raise UnknownArchitectureError(
            f"{path}: truncate_dim is not supported; remove it and pass truncate_dim to encode"
        )
    try:
        return EmbeddingSpec(
            pooling=pooling,
            normalize=normalize,
            max_seq_length=max_seq_length,
            similarity=_similarity(config.get("similarity_fn_name"), folder),
            prompts=_prompts(config.get("prompts"), path),
            default_prompt_name=_text(config, "default_prompt_name", path),
        )
    except SpecError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _prompts(stated: object, path: Path) -> dict[str, str]:
    prompts = {} if stated is None else stated
    if not isinstance(prompts, dict):
        raise CheckpointError(f"{path}: prompts is {prompts!r}, expected an object of texts")
    texts = {name: _text(prompts, name, path) for name in prompts}
    return {name: text for name, text in texts.items() if text is not None}


def _text(values: Mapping[str, Any], key: str, path: Path) -> str | None:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise CheckpointError(f"{path}: {key} is {value!r}, expected a text")
    return value


def _similarity(name: object, folder: Path) -> Similarity:
    try:
        return Similarity(name or "cosine")
    except ValueError:
        supported = [s.value for s in Similarity]
        raise UnknownArchitectureError(
            f"{folder / PROMPTS}: similarity_fn_name {name!r} is not supported, only {supported}"
        ) from None
