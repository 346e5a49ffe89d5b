"""Embedding functions in real LanceDB tables: made, reopened elsewhere, searched."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector
from PIL import Image

import llm_compression.adapters.lancedb as adapter
from llm_compression import ArrowEngine, CLIPEngine
from llm_compression.errors import InputError
from tests.adapters.conftest import TEXTS
from tests.adapters.documents import run_example
from tests.clip_checkpoints import patterns
from tests.conftest import ROOT

# What another process does: nothing but the table's own metadata says which model to open.
REOPEN = """
import json, sys
import lancedb
import llm_compression.adapters.lancedb
table = lancedb.connect(sys.argv[1]).open_table("notes")
table.add([{"text": "Rain is expected tomorrow."}])
rows = table.search(sys.argv[2]).limit(2).to_list()
print(json.dumps([row["text"] for row in rows]))
"""


def text_function(path: Path, **options: Any) -> Any:
    return get_registry().get("llm-compression").create(name=str(path), **options)


def text_table(folder: Path, function: Any) -> Any:
    class Note(LanceModel):
        text: str = function.SourceField()
        vector: Vector(function.ndims()) = function.VectorField()  # type: ignore[valid-type]

    table = lancedb.connect(folder).create_table("notes", schema=Note)
    table.add([{"text": text} for text in TEXTS])
    return table


def test_rows_have_the_vectors_of_documents(text_model: Path, tmp_path: Path) -> None:
    table = text_table(tmp_path, text_function(text_model))
    wanted = ArrowEngine(text_model).encode(TEXTS, prompt="passage: ")
    np.testing.assert_array_equal(np.stack(table.to_arrow()["vector"].to_numpy()), wanted)


def test_queries_have_the_prompt_of_queries(text_model: Path, tmp_path: Path) -> None:
    (row, *_) = text_table(tmp_path, text_function(text_model)).search(TEXTS[0]).to_list()
    engine = ArrowEngine(text_model)
    query, document = engine.encode_query(TEXTS[0]), engine.encode_document(TEXTS[0])
    assert row["text"] == TEXTS[0]
    assert row["_distance"] == pytest.approx(float(((query - document) ** 2).sum()), abs=1e-5)


def test_another_process_opens_the_function_from_the_table(
    text_model: Path, tmp_path: Path
) -> None:
    text_table(tmp_path, text_function(text_model))
    command = [sys.executable, "-c", REOPEN, str(tmp_path), "will it be wet"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert json.loads(done.stdout)[0] == "Rain is expected tomorrow."


def test_arguments_are_kept_as_json_with_the_fingerprint(text_model: Path, tmp_path: Path) -> None:
    options = {"max_seq_length": 64}
    function = text_function(text_model, truncate_dim=32, options=options)
    metadata = text_table(tmp_path, function).schema.metadata
    (kept,) = json.loads(metadata[b"embedding_functions"])
    fingerprint = ArrowEngine(text_model).fingerprint
    assert kept["name"] == "llm-compression"
    assert kept["model"] == {
        "name": str(text_model), "truncate_dim": 32, "options": options, "fingerprint": fingerprint,
    }  # fmt: skip


def test_vectors_of_another_model_are_not_searched(text_model: Path, tmp_path: Path) -> None:
    other = text_function(text_model, fingerprint="0" * 64)
    with pytest.raises(InputError, match=r"vectors are of model 000000000000, .* is now"):
        other.compute_query_embeddings("a pet")


def test_a_token_is_not_stored_in_a_table(text_model: Path, tmp_path: Path) -> None:
    function = text_function(text_model, options={"token": "hf_secret"})
    with pytest.raises(InputError, match="set HF_TOKEN instead"):
        function.safe_model_dump()


def test_null_is_refused_and_not_retried(text_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits to try again"))
    column = pa.array(["text", None])
    with pytest.raises(InputError, match="input 1 is NoneType"):
        text_function(text_model).compute_source_embeddings_with_retry(column)


def test_texts_and_images_find_images(clip_model: Path, tmp_path: Path) -> None:
    function = get_registry().get("llm-compression-clip").create(name=str(clip_model))

    class Picture(LanceModel):
        path: str = function.SourceField()
        vector: Vector(function.ndims()) = function.VectorField()  # type: ignore[valid-type]

    pictures = [Image.fromarray(pattern) for pattern in patterns()]
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    table = lancedb.connect(tmp_path / "db").create_table("pictures", schema=Picture)
    table.add([{"path": path} for path in paths])

    by_image = table.search(pictures[1]).limit(1).to_list()
    assert (by_image[0]["path"], by_image[0]["_distance"]) == (paths[1], pytest.approx(0, abs=1e-6))
    best = CLIPEngine(clip_model).find_best_matches(["a red bird"], paths, top_k=3)[0]
    rows = table.search("a red bird").limit(3).to_list()
    assert [row["path"] for row in rows] == [paths[match.index] for match in best]


def test_images_may_be_bytes(clip_model: Path, tmp_path: Path) -> None:
    Image.fromarray(patterns()[0]).save(tmp_path / "0.png")
    function = adapter.ClipFunction.create(name=str(clip_model))
    column = pa.chunked_array([[(tmp_path / "0.png").read_bytes()]])
    (found,) = function.compute_source_embeddings(column)
    np.testing.assert_array_equal(found, CLIPEngine(clip_model).encode_image(patterns()[0]))


def test_example_of_the_documents(workplace: Path) -> None:
    assert run_example("LanceDB")["rows"][0]["text"] == "The cat sleeps."
