"""The same calls on sentence-transformers and on what takes its place: same results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentence_transformers
import torch

from llm_compression import ArrowEngine
from llm_compression.adapters.sentence_transformers import SentenceTransformer
from llm_compression.errors import InputError
from tests.adapters.conftest import TEXTS
from tests.adapters.documents import run_example
from tests.conftest import CheckpointFactory

LONG = "a long story about a cat " * 100
Call = Callable[[Any], Any]
CALLS: dict[str, Call] = {
    "many": lambda m: m.encode(TEXTS),
    "one": lambda m: m.encode(TEXTS[0]),
    "older name": lambda m: m.encode(sentences=TEXTS),
    "tuple": lambda m: m.encode(tuple(TEXTS)),
    "array": lambda m: m.encode(np.array(TEXTS)),
    "batches": lambda m: m.encode(TEXTS, batch_size=2, show_progress_bar=False),
    "by position": lambda m: m.encode(TEXTS, "query", None, 2),
    "prompt": lambda m: m.encode(TEXTS, prompt="find: "),
    "prompt name": lambda m: m.encode(TEXTS, prompt_name="query"),
    "own prompt": lambda m: m.encode(TEXTS, prompt_name="mine"),
    "query": lambda m: m.encode_query(TEXTS),
    "document": lambda m: m.encode_document(TEXTS[0]),
    "document with prompt": lambda m: m.encode_document(TEXTS, prompt="text: "),
    "tensor": lambda m: m.encode(TEXTS, convert_to_tensor=True),
    "one tensor": lambda m: m.encode(TEXTS[0], convert_to_tensor=True),
    "list of tensors": lambda m: m.encode(TEXTS, convert_to_numpy=False),
    "one without numpy": lambda m: m.encode(TEXTS[0], convert_to_numpy=False),
    "normalized": lambda m: m.encode(TEXTS, normalize_embeddings=True),
    "truncated": lambda m: m.encode(TEXTS, truncate_dim=16),
    "truncated and normalized": lambda m: m.encode(
        TEXTS, truncate_dim=16, normalize_embeddings=True
    ),
    "int8": lambda m: m.encode(TEXTS, precision="int8"),
    "uint8 tensor": lambda m: m.encode(TEXTS, precision="uint8", convert_to_tensor=True),
    "binary": lambda m: m.encode(TEXTS[0], precision="binary"),
    "ubinary": lambda m: m.encode(TEXTS, precision="ubinary", truncate_dim=32),
    "tokens": lambda m: m.encode(TEXTS, output_value="token_embeddings"),
    "tokens of one": lambda m: m.encode(TEXTS[0], output_value="token_embeddings", prompt="q: "),
    "device": lambda m: m.encode(TEXTS, device="cpu"),
    "similarity": lambda m: m.similarity(m.encode(TEXTS), m.encode(TEXTS[0])),
    "similarity of tensors": lambda m: m.similarity_pairwise(
        m.encode(TEXTS, convert_to_tensor=True), m.encode(TEXTS[::-1], convert_to_tensor=True)
    ),
    "ids": lambda m: m.tokenize(TEXTS)["input_ids"],
    "mask": lambda m: m.tokenize(TEXTS)["attention_mask"],
}


@pytest.fixture(scope="module")
def pair(minilm: Path, text_model: Path) -> tuple[Any, SentenceTransformer]:
    """The library's model, and ours of the same weights and prompts."""
    prompts = {"query": "query: ", "document": "passage: ", "mine": "my "}
    theirs = sentence_transformers.SentenceTransformer(str(minilm), device="cpu", prompts=prompts)
    return theirs, SentenceTransformer(text_model, device="cpu", prompts={"mine": "my "})


def assert_same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
        return
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    allowed = 1e-5 if np.asarray(theirs).dtype.kind == "f" else 1  # one level of int8
    difference = np.asarray(ours).astype(np.float64) - np.asarray(theirs).astype(np.float64)
    assert np.abs(difference).max() <= allowed


@pytest.mark.parametrize("name", CALLS)
def test_result_is_the_librarys(name: str, pair: tuple[Any, SentenceTransformer]) -> None:
    theirs, ours = pair
    assert_same(CALLS[name](ours), CALLS[name](theirs))


def test_values_of_the_model_are_the_librarys(pair: tuple[Any, SentenceTransformer]) -> None:
    for name in ("prompts", "default_prompt_name", "similarity_fn_name", "max_seq_length",
                 "device", "truncate_dim"):  # fmt: skip
        assert getattr(pair[1], name) == getattr(pair[0], name), name
    assert pair[1].get_embedding_dimension() == pair[0].get_embedding_dimension()
    assert pair[1].get_sentence_embedding_dimension() == 384


def test_arguments_of_the_constructor_are_the_librarys(minilm: Path, text_model: Path) -> None:
    options: dict[str, Any] = {
        "truncate_dim": 8, "similarity_fn_name": "euclidean", "prompts": {"query": "", "a": "b "},
        "default_prompt_name": "a", "backend": "torch", "local_files_only": True,
    }  # fmt: skip
    theirs = sentence_transformers.SentenceTransformer(str(minilm), device="cpu", **options)
    ours = SentenceTransformer(text_model, **options)
    assert ours.get_embedding_dimension() == theirs.get_embedding_dimension() == 8
    for call in (CALLS["many"], CALLS["query"], CALLS["similarity"]):
        assert_same(call(ours), call(theirs))
    with ours.truncate_embeddings(4), theirs.truncate_embeddings(4):
        assert_same(ours.encode(TEXTS), theirs.encode(TEXTS))
    assert ours.encode(TEXTS).shape == (3, 8)


def test_where_it_runs_and_how_long_texts_are(text_model: Path) -> None:
    ours = SentenceTransformer(text_model)
    assert ours.to("cpu").eval() is ours
    assert ours.get_max_seq_length() == ours.max_seq_length
    with pytest.raises(InputError, match="device"):
        ours.to("cuda")


def test_maximum_length_can_be_set(minilm: Path, text_model: Path) -> None:
    theirs = sentence_transformers.SentenceTransformer(str(minilm), device="cpu")
    ours = SentenceTransformer(ArrowEngine(text_model, truncation="ok"))
    theirs.max_seq_length = ours.max_seq_length = 16
    assert_same(ours.encode(LONG), theirs.encode(LONG))


def test_a_model_that_names_its_document_prompt_passage(make_checkpoint: CheckpointFactory) -> None:
    checkpoint = make_checkpoint(prompts={"query": "query : ", "passage": "passage : "})
    theirs = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu")
    ours = SentenceTransformer(checkpoint)
    assert ours.prompts == theirs.prompts
    assert_same(ours.encode_document(TEXTS), theirs.encode_document(TEXTS))
    assert_same(ours.encode_query(TEXTS), theirs.encode_query(TEXTS))


def test_models_without_normalisation_follow_the_argument(
    make_checkpoint: CheckpointFactory,
) -> None:
    checkpoint = make_checkpoint(normalize=False)
    theirs = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu")
    ours = SentenceTransformer(checkpoint)
    for call in (CALLS["many"], CALLS["normalized"]):
        assert_same(call(ours), call(theirs))


@pytest.mark.parametrize("as_arrays", [True, False])
def test_similarity_takes_lists(as_arrays: bool, pair: tuple[Any, SentenceTransformer]) -> None:
    ours = pair[1]  # release 5 of the library warns of lists of arrays and fails on tensors
    rows = list(ours.encode(TEXTS, convert_to_numpy=as_arrays))
    assert torch.equal(ours.similarity(rows, rows), ours.similarity(*[ours.encode(TEXTS)] * 2))


def test_no_texts_give_no_rows(pair: tuple[Any, SentenceTransformer]) -> None:
    assert pair[1].encode([]).shape == (0, 384)  # the library's (0,) fits no other array


def test_saved_model_opens_again(pair: tuple[Any, SentenceTransformer], tmp_path: Path) -> None:
    pair[1].save_pretrained(tmp_path)
    again = SentenceTransformer(str(tmp_path))
    np.testing.assert_array_equal(again.encode(TEXTS), pair[1].encode(TEXTS))


def test_id_without_owner_is_one_of_the_librarys(
    text_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def opened(name: str, **options: Any) -> ArrowEngine:
        asked.append((name, options))
        return ArrowEngine(text_model)

    monkeypatch.setattr(ArrowEngine, "from_pretrained", opened)
    SentenceTransformer("all-MiniLM-L6-v2", cache_folder="c", revision="r", token="t")
    SentenceTransformer("someone/model")
    options = {"cache_dir": "c", "revision": "r", "token": "t"}
    assert asked == [("sentence-transformers/all-MiniLM-L6-v2", options), ("someone/model", {})]


@pytest.mark.parametrize(
    "arguments",
    [
        {"device": "cuda:99"}, {"pool": {}}, {"chunk_size": 8}, {"task": "query"},
        {"output_value": None}, {"output_value": "token_embeddings", "precision": "int8"},
        {"output_value": "token_embeddings", "normalize_embeddings": True},
        {"truncate_dim": 385}, {"truncate_dim": 0}, {"precision": "float16"},
        {"prompt_name": "unknown"}, {"sentences": TEXTS}, {"batch_size": 0},
    ],
    ids=str,
)  # fmt: skip
def test_what_encode_cannot_do_is_refused(
    arguments: dict[str, Any], pair: tuple[Any, SentenceTransformer]
) -> None:
    with pytest.raises(InputError):
        pair[1].encode(TEXTS, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"device": "cuda:99"}, {"trust_remote_code": True}, {"backend": "onnx"}, {"modules": []},
        {"model_kwargs": {"dtype": "float16"}}, {"similarity_fn_name": "maxsim"},
        {"default_prompt_name": "unknown"}, {"colour": "red"},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_constructor_cannot_do_is_refused(
    arguments: dict[str, Any], text_model: Path
) -> None:
    with pytest.raises(InputError):
        SentenceTransformer(text_model, **arguments)


def test_example_of_the_documents(workplace: Path) -> None:
    assert run_example("sentence-transformers")["scores"].shape == (1, 2)
    assert torch.is_tensor(run_example("sentence-transformers")["scores"])
