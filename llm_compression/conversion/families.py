"""From a checkpoint folder to a model spec and a plan: one function per family."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from llm_compression.conversion import bert, clip, whisper
from llm_compression.conversion import sentence_transformers as st
from llm_compression.conversion import tokenizers as tok
from llm_compression.conversion.apply import Plan, make_plan
from llm_compression.conversion.blueprint import Attachment, Blueprint, attach
from llm_compression.conversion.config import Config
from llm_compression.conversion.preprocessing import (
    PREPROCESSOR,
    PROCESSOR,
    read_preprocessing,
    read_sound,
)
from llm_compression.conversion.rules import Rule
from llm_compression.conversion.source import Checkpoint
from llm_compression.errors import CheckpointError, SpecError, UnknownArchitectureError
from llm_compression.spec.model import Family, ModelSpec, TokenizerSpec
from llm_compression.spec.tensors import expected_tensors
from llm_compression.spec.towers import TextSpec
from llm_compression.weights.schema import FileRole

_ADAPTER = "adapter_config.json"
_MOST_LAYERS = 1000
_CONFIG, _SPECIAL_TOKENS = "config.json", "special_tokens_map.json"
_GUESSED_POOLING = (
    "no modules.json: mean pooling without normalisation, as sentence-transformers takes it"
)
_GUESSED_SOUND = f"no {PREPROCESSOR}: sound is taken at 16 kHz in windows of 30 s, as Whisper does"
_GUESSED_PREPROCESSING = (
    f"no {PREPROCESSOR}: images are resized, cropped and normalised as CLIP's own processor does"
)


def read_blueprint(folder: Path, *, keep_decoder: bool = False) -> Blueprint:
    """Recognise the family of a checkpoint folder and describe its model.

    ``keep_decoder`` keeps the weights of a decoder that embeddings do not pass through.

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
    _refuse_strangers(checkpoint)
    model_type = checkpoint.config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise UnknownArchitectureError(
            f"{folder}: model_type {model_type!r} is not supported; supported are "
            f"{', '.join(sorted(FAMILIES))}"
        )
    if keep_decoder and model_type not in _WITH_DECODER:
        raise UnknownArchitectureError(
            f"{folder}: a model of {model_type} has no decoder to keep; convert without "
            "keep_decoder (--keep-decoder)"
        )
    families = _WITH_DECODER if keep_decoder else FAMILIES
    try:
        return families[model_type](folder, modules, checkpoint)
    except SpecError as error:
        raise CheckpointError(f"{folder} describes a model that cannot be: {error}") from error


def _refuse_strangers(checkpoint: Checkpoint) -> None:
    """Refuse what transformers would run with code or kernels of its own."""
    own_code = checkpoint.config.get("auto_map")
    if isinstance(own_code, dict) and any(name != "AutoConfig" for name in own_code):
        raise UnknownArchitectureError(
            f"{checkpoint.folder}: config.json's auto_map names the model's own code, "
            f"{sorted(own_code)}, which is never run here"
        )
    if checkpoint.config.get("quantization_config"):
        raise UnknownArchitectureError(
            f"{checkpoint.folder} is quantised (quantization_config); convert the original "
            "checkpoint"
        )


def _bert(folder: Path, modules: st.Modules, checkpoint: Checkpoint) -> Blueprint:
    if modules.pooling is None:
        raise UnknownArchitectureError(
            f"{folder / st.MODULES} names one module alone, which is for CLIP; supported is "
            "Transformer > Pooling, with or without Normalize"
        )
    inner, infos = checkpoint.folder, checkpoint.tensors()
    config = bert.read_config(checkpoint.config, str(inner))
    text = bert.text_spec(config, infos)
    length_file, length, lowercase = st.length_and_case(inner)
    longest = tok.max_length(inner, length, text.max_tokens)
    content, tokenizer = _tokenizer(inner, config, text, longest, lowercase=lowercase)
    spec = ModelSpec(
        family=Family.BERT,
        text=text,
        tokenizer=tokenizer,
        embedding=st.embedding_spec(folder, modules.pooling, longest, normalize=modules.normalize),
    )
    own = (_CONFIG, tok.TOKENIZER_CONFIG, _SPECIAL_TOKENS, length_file)
    names = [str(modules.transformer / name) for name in own if name]
    return Blueprint(
        checkpoint,
        modules.transformer,
        spec,
        _plan(bert.rules(config.values["model_type"], infos), checkpoint, spec),
        (
            Attachment(str(modules.transformer / tok.TOKENIZER), content, FileRole.TOKENIZER),
            *attach(folder, [*names, *modules.files, st.PROMPTS]),
        ),
        (_GUESSED_POOLING,) if modules.guessed else (),
    )


def _clip(folder: Path, modules: st.Modules, checkpoint: Checkpoint) -> Blueprint:
    if modules.pooling and not modules.guessed:
        raise UnknownArchitectureError(
            f"{folder / st.MODULES} puts a Pooling behind CLIP, which has its own; supported is "
            "one Transformer or CLIPModel alone"
        )
    inner, infos = checkpoint.folder, checkpoint.tensors()
    config = Config(checkpoint.config, str(inner))
    model_type = checkpoint.config["model_type"]
    length_file, length, _ = st.length_and_case(inner, st.PLAIN_CLIP)
    text = embedding = tokenizer = vision = image = None
    files: list[Attachment] = []
    notes: list[str] = []
    if model_type != "clip_vision_model":
        part = clip.tower_config(config, "text")
        text = clip.text_spec(part, clip.projection_dim(config, infos, clip.TEXT_PROJECTION))
        pooling, eos = clip.pooling(part)
        longest = tok.max_length(inner, length, text.max_tokens)
        content, tokenizer = _tokenizer(inner, part, text, longest, lowercase=False, eos=eos)
        embedding = st.embedding_spec(folder, pooling, longest, normalize=False)
        name = str(modules.transformer / tok.TOKENIZER)
        files.append(Attachment(name, content, FileRole.TOKENIZER))
    if model_type != "clip_text_model":
        part = clip.tower_config(config, "vision")
        vision = clip.vision_spec(part, clip.projection_dim(config, infos, clip.VISION_PROJECTION))
        image, stated = read_preprocessing(inner, vision.image_size)
        notes += [] if stated else [_GUESSED_PREPROCESSING]
    spec = ModelSpec(Family.CLIP, text, tokenizer, embedding, vision, image)
    own = (
        _CONFIG, tok.TOKENIZER_CONFIG, _SPECIAL_TOKENS, PREPROCESSOR, PROCESSOR, length_file,
    )  # fmt: skip
    names = [str(modules.transformer / name) for name in own if name]
    return Blueprint(
        checkpoint,
        modules.transformer,
        spec,
        _plan(clip.RULES[model_type], checkpoint, spec),
        (*files, *attach(folder, [*names, *modules.files, st.PROMPTS])),
        tuple(notes),
    )


def _whisper(
    folder: Path, modules: st.Modules, checkpoint: Checkpoint, *, keep_decoder: bool = False
) -> Blueprint:
    inner = checkpoint.folder
    if keep_decoder and not whisper.has_decoder(checkpoint.tensors()):
        raise CheckpointError(
            f"{inner} holds no decoder; convert without keep_decoder (--keep-decoder)"
        )
    if keep_decoder:
        whisper.check_tied(checkpoint)
    config = Config(checkpoint.config, str(inner), defaults=whisper.DEFAULTS)
    audio = whisper.audio_spec(config)
    sound, stated = read_sound(inner, audio.num_mel_bins)
    decoder = whisper.audio_decoder_spec(config) if keep_decoder else None
    spec = ModelSpec(
        Family.WHISPER, None, None, None, audio=audio, sound=sound, audio_decoder=decoder
    )
    own = (_CONFIG, PREPROCESSOR, PROCESSOR, *(whisper.DECODER_FILES if keep_decoder else ()))
    return Blueprint(
        checkpoint,
        modules.transformer,
        spec,
        _plan(whisper.rules(keep_decoder=keep_decoder), checkpoint, spec),
        tuple(attach(folder, [str(modules.transformer / name) for name in own])),
        () if stated else (_GUESSED_SOUND,),
    )


def _tokenizer(
    inner: Path,
    config: Config,
    text: TextSpec,
    longest: int,
    *,
    lowercase: bool,
    eos: int | None = None,
) -> tuple[bytes, TokenizerSpec]:
    model_type = config.values.get("model_type", "clip_text_model")  # a part may not say
    content = tok.tokenizer_json(inner, model_type)
    tokenizer = tok.check_tokenizer(content, text.vocab_size, inner, model_type)
    tok.check_room(tokenizer, longest, inner)
    if eos is not None and eos not in tokenizer.encode("").ids:
        raise CheckpointError(
            f"{inner / tok.TOKENIZER} does not end a text with token {eos}, the eos_token_id of "
            "config.json; take tokenizer and weights from one checkpoint"
        )
    pad = config.count("pad_token_id")
    spec = tok.tokenizer_spec(inner, tokenizer, pad, lowercase=lowercase, eos=eos)
    return content, spec


def _plan(rules: list[Rule], checkpoint: Checkpoint, spec: ModelSpec) -> Plan:
    infos, where = checkpoint.tensors(), str(checkpoint.folder)
    stacks = (*spec.towers, *([spec.audio_decoder] if spec.audio_decoder else []))
    layers = max(stack.num_layers for stack in stacks)
    if layers > max(len(infos), _MOST_LAYERS):  # a list of what is missing has an end
        raise CheckpointError(f"{where}: {layers} layers, but only {len(infos)} tensors")
    shapes = {name: info.shape for name, info in infos.items()}
    return make_plan(rules, shapes, expected_tensors(spec), where)


Reader = Callable[[Path, st.Modules, Checkpoint], Blueprint]
FAMILIES: dict[str, Reader] = {
    **dict.fromkeys(bert.VARIANTS, _bert),
    **dict.fromkeys(clip.RULES, _clip),
    "whisper": _whisper,
}
FAMILY_OF = {
    **dict.fromkeys(bert.VARIANTS, Family.BERT),
    **dict.fromkeys(clip.RULES, Family.CLIP),
    "whisper": Family.WHISPER,
}
_WITH_DECODER: dict[str, Reader] = {"whisper": partial(_whisper, keep_decoder=True)}
