"""From a checkpoint folder to a model spec and a plan: one function per family."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llm_compression.conversion import bert
from llm_compression.conversion import sentence_transformers as st
from llm_compression.conversion import tokenizers as tok
from llm_compression.conversion.apply import Plan, make_plan
from llm_compression.conversion.source import Checkpoint
from llm_compression.errors import CheckpointError, SpecError, UnknownArchitectureError
from llm_compression.spec.model import Family, ModelSpec
from llm_compression.spec.tensors import expected_tensors
from llm_compression.weights.schema import FileRole

_ADAPTER = "adapter_config.json"
_MOST_LAYERS = 1000


@dataclass(frozen=True)
class Attachment:
    """A file to carry inside the weight table."""

    name: str
    content: bytes
    role: FileRole


@dataclass(frozen=True)
class Blueprint:
    """All that conversion needs to know before the first tensor is read."""

    checkpoint: Checkpoint
    inside: Path  # where the weights lie, relative to the checkpoint folder
    spec: ModelSpec
    plan: Plan
    attachments: tuple[Attachment, ...]
    notes: tuple[str, ...]


def read_blueprint(folder: Path) -> Blueprint:
    """Recognise the family of a checkpoint folder and describe its model.

    Raises:
        UnknownArchitectureError: no family knows its ``model_type``; the message lists them.
        CheckpointError, CheckpointNotFoundError: files are missing or contradict each other.
    """
    modules = st.read_modules(folder)
    if (folder / modules.transformer / _ADAPTER).is_file():
        raise UnknownArchitectureError(
            f"{folder / modules.transformer} holds a PEFT adapter ({_ADAPTER}); merge it into the "
            "model with peft's merge_and_unload first"
        )
    checkpoint = Checkpoint(folder / modules.transformer)
    model_type = checkpoint.config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise UnknownArchitectureError(
            f"{folder}: model_type {model_type!r} is not supported; supported are "
            f"{', '.join(sorted(FAMILIES))}"
        )
    try:
        return FAMILIES[model_type](folder, modules, checkpoint)
    except SpecError as error:
        raise CheckpointError(f"{folder} describes a model that cannot be: {error}") from error


def _bert(folder: Path, modules: st.Modules, checkpoint: Checkpoint) -> Blueprint:
    inner, infos = checkpoint.folder, checkpoint.tensors()
    model_type = checkpoint.config["model_type"]
    text = bert.text_spec(checkpoint.config, infos, str(inner))
    if text.num_layers > max(len(infos), _MOST_LAYERS):  # a list of what is missing has an end
        raise CheckpointError(f"{inner}: {text.num_layers} layers, but only {len(infos)} tensors")
    length_file, length, lowercase = st.length_and_case(inner)
    content = tok.tokenizer_json(inner, model_type)
    tokenizer = tok.check_tokenizer(content, text.vocab_size, inner)
    pad_id = bert.pad_token_id(checkpoint.config, str(inner))
    spec = ModelSpec(
        family=Family.BERT,
        text=text,
        tokenizer=tok.tokenizer_spec(inner, tokenizer, pad_id, lowercase=lowercase),
        embedding=st.embedding_spec(
            folder, modules, tok.max_length(inner, length, text.max_tokens)
        ),
    )
    shapes = {name: info.shape for name, info in infos.items()}
    plan = make_plan(bert.rules(model_type, infos), shapes, expected_tensors(spec), str(inner))
    own = ("config.json", tok.TOKENIZER_CONFIG, "special_tokens_map.json", length_file)
    inside = [str(modules.transformer / name) for name in own if name]
    tokenizer_file = str(modules.transformer / tok.TOKENIZER)
    files = [Attachment(tokenizer_file, content, FileRole.TOKENIZER)]
    files += _attach(folder, [*inside, *modules.files, st.PROMPTS])
    return Blueprint(checkpoint, modules.transformer, spec, plan, tuple(files), _notes(modules))


def _attach(folder: Path, names: list[str]) -> list[Attachment]:
    present = [name for name in names if (folder / name).is_file()]
    return [Attachment(name, (folder / name).read_bytes(), FileRole.SOURCE) for name in present]


def _notes(modules: st.Modules) -> tuple[str, ...]:
    if not modules.guessed:
        return ()
    return (
        "no modules.json: mean pooling without normalisation, as sentence-transformers takes it",
    )


FAMILIES: dict[str, Callable[[Path, st.Modules, Checkpoint], Blueprint]] = dict.fromkeys(
    bert.VARIANTS, _bert
)
