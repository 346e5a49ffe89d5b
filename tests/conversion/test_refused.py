"""What is not supported is refused by its name, and what does not fit says what."""

import shutil
from pathlib import Path

import pytest
import torch

from llm_compression import convert
from llm_compression.errors import CheckpointError, ConversionError, UnknownArchitectureError
from tests.conftest import write_json
from tests.conversion.checkpoints import edit_config, edit_json, read_tensors, write_tensors

ST = "sentence_transformers.models"


def refuse(
    bert: Path,
    target: Path,
    *words: str,
    kind: type[ConversionError] = UnknownArchitectureError,
) -> None:
    with pytest.raises(kind) as caught:
        convert(bert, target)
    for word in words:
        assert word in str(caught.value)
    assert list(target.parent.iterdir()) == []


@pytest.fixture(params=["mpnet", "albert", "gpt2", "t5", "electra", "qwen2", "llama"])
def other_model(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A random model of a transformers class that belongs to another family."""
    from transformers import AutoConfig, AutoModel

    sizes = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    own = {
        "t5": {"d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8},
        "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2},
        "albert": {"embedding_size": 16},
        "qwen2": {"num_key_value_heads": 2},
        "llama": {"num_key_value_heads": 2},
    }.get(request.param, {})
    if request.param in ("t5", "gpt2"):
        sizes = {"vocab_size": 64}
    small = {} if request.param in ("t5", "gpt2") else {"intermediate_size": 16}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(request.param, **sizes, **own, **small, **special)
    folder = tmp_path / request.param
    AutoModel.from_config(config).save_pretrained(folder)
    return request.param, folder


def test_other_families_are_refused_by_name(
    other_model: tuple[str, Path], tiny_bert: Path, target: Path
):
    name, folder = other_model
    shutil.copy(tiny_bert / "tokenizer.json", folder)
    refuse(
        folder,
        target,
        f"model_type {name!r}",
        "supported are bert, clip, clip_text_model, clip_vision_model, distilbert, roberta",
    )


@pytest.mark.parametrize("value", [None, 7, [], "", "BERT", "bert "])
def test_a_config_without_a_known_type(value: object, bert: Path, target: Path):
    edit_config(bert, model_type=value)
    refuse(bert, target, str(bert), f"model_type {value!r}")


@pytest.mark.parametrize("key", ["is_decoder", "add_cross_attention"])
def test_decoders(key: str, bert: Path, target: Path):
    edit_config(bert, **{key: True})
    refuse(bert, target, str(bert), key)


@pytest.mark.parametrize("kind", ["relative_key", "relative_key_query", "rotary"])
def test_relative_positions(kind: str, bert: Path, target: Path):
    edit_config(bert, position_embedding_type=kind)
    refuse(bert, target, "position_embedding_type", repr(kind))


@pytest.mark.parametrize("name", ["tanh", "mish", None, 3])
def test_activations(name: object, bert: Path, target: Path):
    edit_config(bert, hidden_act=name)
    kind = CheckpointError if name is None else UnknownArchitectureError
    refuse(bert, target, str(bert), "hidden_act", kind=kind)


@pytest.mark.parametrize("name", ["vocab_size", "hidden_size", "num_hidden_layers"])
def test_a_key_that_the_config_lacks(name: str, bert: Path, target: Path):
    edit_config(bert, drop=(name,))
    refuse(bert, target, f"{bert}: config.json has no {name!r}", kind=CheckpointError)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "32"),
        ("hidden_size", 32.0),
        ("hidden_size", True),
        ("hidden_size", [32]),
        ("hidden_size", 0),
        ("num_attention_heads", 5),
        ("num_attention_heads", -4),
        ("num_hidden_layers", "2"),
        ("vocab_size", {}),
        ("type_vocab_size", "2"),
        ("layer_norm_eps", "small"),
        ("layer_norm_eps", []),
        ("max_position_embeddings", None),
        ("pad_token_id", "0"),
        ("pad_token_id", [0]),
        ("architectures", "BertModel"),
        ("architectures", {"a": 1}),
    ],
)
def test_a_config_with_a_value_that_cannot_be(key: str, value: object, bert: Path, target: Path):
    edit_config(bert, **{key: value})
    refuse(bert, target, str(bert), key, kind=CheckpointError)


def test_a_padding_token_outside_the_vocabulary(bert: Path, target: Path):
    edit_config(bert, pad_token_id=64)
    edit_json(bert / "tokenizer_config.json", drop=("pad_token",))
    refuse(bert, target, "pad_token_id 64", kind=CheckpointError)


def test_config_and_weights_of_two_models(bert: Path, target: Path):
    edit_config(bert, num_hidden_layers=3, intermediate_size=48)
    with pytest.raises(CheckpointError) as caught:
        convert(bert, target)
    lines = str(caught.value).splitlines()
    assert str(bert) in lines[0]
    assert sum("missing: text.block.02." in line for line in lines) == 16
    assert sum("misshapen: " in line for line in lines) == 2 * 3
    assert "Check that config.json and the weights belong together." in lines


def test_a_tensor_too_many(bert: Path, target: Path):
    extra = {"encoder.layer.0.adapter.weight": torch.zeros(3), "bert.pooler.x": torch.zeros(1)}
    write_tensors(bert, {**read_tensors(bert), **extra})
    with pytest.raises(CheckpointError, match="not known to this architecture") as caught:
        convert(bert, target)
    assert all(name in str(caught.value) for name in extra)


def modules(
    folder: Path, *kinds: str, paths: tuple[str, ...] = ("", "1_Pooling", "2", "3")
) -> None:
    rows = [
        {"idx": i, "name": str(i), "path": path, "type": f"{ST}.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=False))
    ]
    write_json(folder / "modules.json", rows)


@pytest.mark.parametrize(
    "kinds",
    [
        ("Transformer", "Pooling", "Dense"),
        ("Transformer", "Pooling", "Dense", "Normalize"),
        ("Transformer", "Normalize"),
        ("Transformer",),
        ("CLIPModel",),
        ("WordEmbeddings", "Pooling"),
        ("Pooling", "Transformer"),
        ("Transformer", "Pooling", "Normalize", "Normalize"),
        (),
    ],
)
def test_chains_of_modules(kinds: tuple[str, ...], bert: Path, target: Path):
    modules(bert, *kinds)
    named = [] if len(kinds) == 1 else [" > ".join(kinds)]
    refuse(bert, target, str(bert / "modules.json"), *named)


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"path": ""}]', "null", "nonsense"])
def test_a_module_list_that_is_none(content: str, bert: Path, target: Path):
    (bert / "modules.json").write_text(content)
    refuse(bert, target, str(bert / "modules.json"), kind=CheckpointError)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, "mean_sqrt_len_tokens"),
        ({"pooling_mode": "median"}, "median"),
        ({"pooling_mode": ["mean", "max"]}, "mean + max"),
        ({"pooling_mode": ["mean", 3]}, "mean + 3"),
        ({"pooling_mode": 3}, "3"),
        ({"pooling_mode": {"mean": True}}, "mean"),
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, "cls + max"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len_tokens"),
        ({"pooling_mode": "mean", "include_prompt": False}, "include_prompt"),
    ],
)
def test_poolings(config: dict[str, object], named: str, bert: Path, target: Path):
    write_json(bert / "1_Pooling" / "config.json", config)
    refuse(bert, target, str(bert / "1_Pooling" / "config.json"), named)


@pytest.mark.parametrize("place", ["../other", "{parent}/other", "1_Pooling/../../other"])
@pytest.mark.parametrize("row", [0, 1])
def test_modules_outside_the_folder(place: str, row: int, bert: Path, target: Path):
    """Their files would be carried along, and `export` would write them outside its folder."""
    other = shutil.copytree(bert, bert.parent / "other")
    edit_config(other, pooling_mode="mean")
    paths = ["", "1_Pooling"]
    paths[row] = place.format(parent=bert.parent)
    modules(bert, "Transformer", "Pooling", paths=tuple(paths))
    refuse(bert, target, str(bert / "modules.json"), paths[row], kind=CheckpointError)


@pytest.mark.parametrize("row", [{"type": f"{ST}.Pooling"}, {"type": f"{ST}.Pooling", "path": ""}])
def test_a_pooling_without_a_folder(row: dict[str, str], bert: Path, target: Path):
    transformer = {"type": f"{ST}.Transformer", "path": ""}
    write_json(bert / "modules.json", [transformer, row])
    with pytest.raises(ConversionError) as caught:
        convert(bert, target)
    assert str(bert) in str(caught.value)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"prompts": ["query: "]}, "prompts"),
        ({"prompts": {"query": 5}}, "prompts"),
        ({"prompts": "query: "}, "prompts"),
        ({"prompts": {"a": "b"}, "default_prompt_name": "c"}, "default_prompt_name"),
        ({"default_prompt_name": 3}, "default_prompt_name"),
        ({"default_prompt_name": []}, "default_prompt_name"),
        ({"prompts": {"query": "half \ud83d: "}}, "surrogates"),
        ({"prompts": {"\udc00": "query: "}}, "surrogates"),
    ],
)
def test_prompts_that_cannot_be(config: dict[str, object], named: str, bert: Path, target: Path):
    path = bert / "config_sentence_transformers.json"
    write_json(path, config)
    refuse(bert, target, str(path), named, kind=CheckpointError)


@pytest.mark.parametrize("name", ["hamming", 3, ["cosine"]])
def test_similarities(name: object, bert: Path, target: Path):
    path = bert / "config_sentence_transformers.json"
    write_json(path, {"similarity_fn_name": name})
    refuse(bert, target, str(path), "similarity_fn_name", repr(name))


@pytest.mark.parametrize("length", [0, -1, "512", 12.5, True])
def test_lengths(length: object, bert: Path, target: Path):
    path = bert / "sentence_bert_config.json"
    write_json(path, {"max_seq_length": length})
    refuse(bert, target, str(path), "max_seq_length", kind=CheckpointError)


@pytest.mark.parametrize("dtype", ["float64", "int8", "fp16", ""])
def test_stored_types(dtype: str, bert: Path, target: Path):
    with pytest.raises(ConversionError, match=r"is not one of float32, float16, bfloat16"):
        convert(bert, target, dtype=dtype)


@pytest.mark.parametrize("layers", [1_000_000_000, 2**70])
def test_more_layers_than_could_be(layers: int, bert: Path, target: Path):
    edit_config(bert, num_hidden_layers=layers)
    refuse(bert, target, f"{layers} layers", kind=CheckpointError)


def test_an_adapter_is_no_model(bert: Path, target: Path):
    write_json(bert / "adapter_config.json", {"peft_type": "LORA"})
    refuse(bert, target, "PEFT adapter", "merge_and_unload")
    (bert / "model.safetensors").rename(bert / "adapter_model.safetensors")
    (bert / "config.json").unlink()
    refuse(bert, target, "PEFT adapter", "merge_and_unload")
