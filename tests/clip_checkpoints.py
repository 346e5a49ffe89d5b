"""Tiny random CLIP checkpoints of every architecture, in the names of every release."""

from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from tests.conftest import write_json

CLIPFactory = Callable[..., Path]

WORDS = (
    "a", "an", "photo", "of", "the", "cat", "dog", "bird", "truck", "ship", "red", "blue", "sits",
    "runs", "query", "'s",
)  # fmt: skip
START, END = "<|startoftext|>", "<|endoftext|>"
OWN, NEWER, OLDER = "own", "release 5", "older"
RELEASES = [NEWER, OLDER]
MODEL_TYPES = {
    "CLIPModel": "clip",
    "CLIPTextModel": "clip_text_model",
    "CLIPTextModelWithProjection": "clip_text_model",
    "CLIPVisionModel": "clip_vision_model",
    "CLIPVisionModelWithProjection": "clip_vision_model",
}
# As transformers/models/clip/tokenization_clip.py has it.
_PIECES = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_MEAN = [0.48145466, 0.4578275, 0.40821073]
_STD = [0.26862954, 0.26130258, 0.27577711]


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> CLIPFactory:
    """Writes a tiny random CLIP checkpoint and returns its folder."""
    return lambda *args, **kwargs: write_clip(tmp_path_factory.mktemp("clip"), *args, **kwargs)


@pytest.fixture(scope="session")
def tiny_clip(make_clip: CLIPFactory) -> Path:
    """A random CLIP of two layers in each tower; 24 wide where its towers meet."""
    return make_clip()


@pytest.fixture(scope="session")
def tiny_clip_table(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_clip` as a weight table."""
    from llm_compression import convert

    return convert(tiny_clip, tmp_path_factory.mktemp("table") / "clip.parquet").path


def write_clip(
    folder: Path,
    architecture: str = "CLIPModel",
    *,
    names: str = OWN,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    std: float = 0.25,
    text: Mapping[str, object] | None = None,
    vision: Mapping[str, object] | None = None,
    **config: object,
) -> Path:
    """A random model of the real transformers class, with tokenizer and preprocessing.

    ``text``, ``vision`` and ``config`` change values of the towers' configs and of the whole.
    ``names`` are those that the installed release gives the tensors, or those of ``RELEASES``.
    """
    import transformers

    torch.manual_seed(seed)
    model_type = MODEL_TYPES[architecture]
    parts = {"text_config": {**text_sizes(), **(text or {})},
             "vision_config": {**vision_sizes(), **(vision or {})}}  # fmt: skip
    own = {"clip_text_model": "text_config", "clip_vision_model": "vision_config"}.get(model_type)
    values = {**parts[own], **config} if own else {"projection_dim": 24, **config, **parts}
    made = transformers.AutoConfig.for_model(model_type, **values)
    model = getattr(transformers, architecture)(made)
    for parameter in model.parameters():  # fresh biases are zero and norms one: make all matter
        torch.nn.init.normal_(parameter, std=std)
    if hasattr(model, "logit_scale"):
        model.logit_scale.data.fill_(4.6)
    model.to(dtype).save_pretrained(folder)
    if names != OWN:
        rename(folder, model_type, older=names == OLDER)
    if model_type != "clip_vision_model":
        write_tokenizer(folder)
    if model_type != "clip_text_model":
        write_preprocessor(folder, int(parts["vision_config"]["image_size"]))  # type: ignore[call-overload]
    return folder


def text_sizes() -> dict[str, object]:
    """A tiny text tower whose end token is that of `clip_tokenizer`."""
    tokenizer = clip_tokenizer()
    return {
        "vocab_size": tokenizer.get_vocab_size(), "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 16,
        "projection_dim": 24, "bos_token_id": tokenizer.token_to_id(START),
        "eos_token_id": tokenizer.token_to_id(END), "pad_token_id": tokenizer.token_to_id(END),
    }  # fmt: skip


def vision_sizes() -> dict[str, object]:
    """A tiny vision tower of 16 patches."""
    return {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "projection_dim": 24, "image_size": 32, "patch_size": 8,
    }  # fmt: skip


def rename(folder: Path, model_type: str, *, older: bool) -> None:
    """Give the tensors the names of transformers 5, or those of before 4.31 with their buffers.

    A tower without projection had its prefix before release 5 and has none since.
    """
    tensors = {name: t.clone() for name, t in load_file(folder / "model.safetensors").items()}
    prefix = {"clip_text_model": "text_model.", "clip_vision_model": "vision_model."}.get(
        model_type
    )
    if prefix and not any(name.endswith("projection.weight") for name in tensors):
        bare = {name.removeprefix(prefix): t for name, t in tensors.items()}
        tensors = {prefix + name: t for name, t in bare.items()} if older else bare
    if older:
        tables = [n for n in tensors if n.endswith("embeddings.position_embedding.weight")]
        tensors |= {n.replace("position_embedding.weight", "position_ids"):
                    torch.arange(len(tensors[n]))[None] for n in tables}  # fmt: skip
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def clip_tokenizer() -> Tokenizer:
    """Lowercasing byte-level BPE with CLIP's normalizer, end of words and special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = list(dict.fromkeys(pair for word in WORDS for pair in _merges(word)))
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    tokens += dict.fromkeys(a + b for a, b in merges)
    vocabulary = {token: i for i, token in enumerate([*tokens, START, END])}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token=END, continuing_subword_prefix="",
                   end_of_word_suffix="</w>")
    )  # fmt: skip
    tokenizer.add_special_tokens(
        [AddedToken(START, special=True, normalized=True), AddedToken(END, special=True)]
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    ends = [(token, vocabulary[token]) for token in (END, START)]
    tokenizer.post_processor = processors.RobertaProcessing(
        *ends, trim_offsets=False, add_prefix_space=False
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _merges(word: str) -> list[tuple[str, str]]:
    """The pairs that make one token of a word, from its first letter on."""
    letters = [*word[:-1], f"{word[-1]}</w>"]
    starts = [reduce(str.__add__, letters[:i]) for i in range(1, len(letters))]
    return list(zip(starts, letters[1:], strict=True))


def write_tokenizer(folder: Path) -> None:
    """`clip_tokenizer` and the config that OpenAI's checkpoints have beside it."""
    clip_tokenizer().save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer", "bos_token": START, "eos_token": END,
            "pad_token": END, "unk_token": END, "do_lower_case": True, "model_max_length": 16,
        },
    )  # fmt: skip


def write_preprocessor(folder: Path, side: int, **changes: object) -> None:
    """The ``preprocessor_config.json`` of CLIP for images of this size."""
    write_json(folder / "preprocessor_config.json", {**preprocessor(side), **changes})


def preprocessor(side: int) -> dict[str, Any]:
    """The values of CLIP's image processor as transformers 4 and 5 write them."""
    return {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True,
        "size": {"shortest_edge": side}, "resample": 3, "do_center_crop": True,
        "crop_size": {"height": side, "width": side}, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": _MEAN, "image_std": _STD,
        "do_convert_rgb": True,
    }  # fmt: skip


def pictures(count: int = 3, seed: int = 0) -> list[np.ndarray]:
    """Noise of different shapes, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (32 + 5 * i, 40 - 3 * i, 3), np.uint8) for i in range(count)]


def patterns(count: int = 3) -> list[np.ndarray]:
    """Stripes by a formula, (32, 32, 3) uint8, so that they are the same for ever."""
    rows, columns = np.mgrid[0:32, 0:32]
    found = []
    for i in range(count):
        channels = [rows * (3 + i) + columns * (5 * c + i) + 40 * c for c in range(3)]
        found.append((np.stack(channels, axis=2) % 256).astype(np.uint8))
    return found


def load_reference(folder: Path, architecture: str = "CLIPModel") -> Any:
    """The checkpoint as transformers opens it, in float32."""
    import transformers

    kind = getattr(transformers, architecture)
    return kind.from_pretrained(folder, local_files_only=True).float().eval()


def reference_processor(folder: Path) -> Any:
    """transformers' image processor on Pillow, which release 5 calls by another name."""
    import transformers

    kind = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    return kind.from_pretrained(folder, local_files_only=True)
