"""Fixtures: tiny random checkpoints, the real MiniLM, the shared data, and an empty cache."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

pytest_plugins = ["tests.clip_checkpoints", "tests.processes", "tests.whisper_checkpoints"]

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for the hub by accident

ROOT = Path(__file__).parents[1]
ASSETS = Path(os.environ.get("LLM_COMPRESSION_ASSETS", ROOT.parent / "shared" / "assets"))
MINILM = Path(os.environ.get("LLM_COMPRESSION_MINILM", ROOT / "models" / "all-MiniLM-L6-v2"))
FULL = os.environ.get("LLM_COMPRESSION_FULL") == "1"
WORDS = "a the cat dog sits runs on in mat park red blue . , ! un ##able ##s ##ing query : passage"

CheckpointFactory = Callable[..., Path]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test has a cache folder of its own, outside ``tmp_path``'s listing."""
    folder = tmp_path.parent / f"{tmp_path.name}-cache"
    monkeypatch.setenv("LLM_COMPRESSION_CACHE", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # mapped copies of all tests would fill a disk


@pytest.fixture(params=["compiled", "operators"])
def either_core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Blocks by the compiled core, and by torch's operators as where it was not built."""
    from llm_compression.inference import trial
    from llm_compression.native.library import Kind

    if request.param == "operators":
        monkeypatch.setattr(trial, "usable", lambda _kind: None)
    elif trial.usable(Kind.FLOAT32) is None:
        pytest.skip("no compiled core on this machine")
    return request.param


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real data; without it the test skips, in the full form it fails."""
    return _required(ASSETS, "real data; set LLM_COMPRESSION_ASSETS")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The real all-MiniLM-L6-v2 checkpoint; `make minilm` fetches it."""
    return _required(MINILM, "the real MiniLM; run `make minilm`")


@pytest.fixture(scope="session")
def minilm_table(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real MiniLM as a weight table."""
    from llm_compression import convert

    return convert(minilm, tmp_path_factory.mktemp("minilm") / "minilm.parquet").path


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> CheckpointFactory:
    """Writes a tiny random checkpoint of a BERT-like family and returns its folder."""
    return lambda *args, **kwargs: write_checkpoint(
        tmp_path_factory.mktemp("checkpoint"), *args, **kwargs
    )


@pytest.fixture(scope="session")
def tiny_bert(make_checkpoint: CheckpointFactory) -> Path:
    """A two-layer random BERT with mean pooling and normalisation."""
    return make_checkpoint()


@pytest.fixture(scope="session")
def tiny_table(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_bert` as a weight table."""
    from llm_compression import convert

    return convert(tiny_bert, tmp_path_factory.mktemp("table") / "tiny.parquet").path


def write_checkpoint(
    folder: Path,
    model_type: str = "bert",
    *,
    pooling: str | None = "mean",
    normalize: bool = True,
    prompts: dict[str, str] | None = None,
    max_seq_length: int | None = 32,
    seed: int = 0,
    **config: object,
) -> Path:
    """A random model of the real transformers class, with tokenizer and module files.

    ``pooling`` None leaves the files of sentence-transformers out.
    """
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(seed)
    sizes = {
        "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 40, "pad_token_id": 0,
    }  # fmt: skip
    if model_type == "distilbert":
        sizes = {
            "vocab_size": 64, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64,
            "max_position_embeddings": 40, "pad_token_id": 0,
        }  # fmt: skip
    model = AutoModel.from_config(AutoConfig.for_model(model_type, **{**sizes, **config}))
    for parameter in model.parameters():  # fresh biases are zero and norms one: make all matter
        torch.nn.init.normal_(parameter, std=0.25)
    model.eval().save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        # The plain class: those named after a family rebuild the tokenizer as their own kind.
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": "[PAD]",
            "model_max_length": 40,
            "model_input_names": ["input_ids", "attention_mask"],
        },
    )
    if pooling is not None:
        write_modules(folder, pooling, normalize=normalize, prompts=prompts)
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length})
    return folder


def write_modules(
    folder: Path, pooling: str, *, normalize: bool, prompts: dict[str, str] | None
) -> None:
    """The files that sentence-transformers adds to a checkpoint."""
    names = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    rows = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path) in enumerate(zip(names, paths, strict=False))
    ]
    write_json(folder / "modules.json", rows)
    keys = {
        "cls": "cls_token",
        "mean": "mean_tokens",
        "max": "max_tokens",
        "lasttoken": "lasttoken",
    }
    config = {f"pooling_mode_{key}": mode == pooling for mode, key in keys.items()}
    config["word_embedding_dimension"] = 32
    write_json(folder / "1_Pooling" / "config.json", config)
    if prompts is not None:
        config = {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
        write_json(folder / "config_sentence_transformers.json", config)


def tiny_tokenizer() -> Tokenizer:
    """A WordPiece tokenizer of 40 words with BERT's special tokens."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(words[:5])
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def write_json(path: Path, value: object) -> None:
    """``value`` as JSON at ``path``, folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _required(path: Path, what: str) -> Path:
    if path.exists():
        return path
    if FULL:
        pytest.fail(f"the full form needs {what} ({path} is absent)")
    pytest.skip(f"needs {what} ({path} is absent)")
