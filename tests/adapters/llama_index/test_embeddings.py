"""Models in LlamaIndex's indices and retrievers."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.schema import ImageNode
from PIL import Image

from llm_compression import ArrowEngine, CLIPEngine
from llm_compression.adapters.llama_index import ArrowEmbedding, ClipEmbedding
from tests.adapters.conftest import TEXTS
from tests.adapters.documents import run_example
from tests.clip_checkpoints import patterns


def test_queries_and_documents_have_the_models_prompts(text_model: Path) -> None:
    engine = ArrowEngine(text_model)
    model = ArrowEmbedding(engine)
    query, passage = (engine.encode(TEXTS[0], prompt=p) for p in ("query: ", "passage: "))
    assert model.get_query_embedding(TEXTS[0]) == query.tolist()
    assert model.get_text_embedding(TEXTS[0]) == passage.tolist()
    batch = engine.encode(TEXTS, prompt="passage: ")
    assert model.get_text_embedding_batch(TEXTS) == batch.tolist()


def test_asynchronous_forms_give_the_same(text_model: Path) -> None:
    model = ArrowEmbedding(text_model, truncate_dim=16)
    assert asyncio.run(model.aget_query_embedding(TEXTS[0])) == model.get_query_embedding(TEXTS[0])
    assert asyncio.run(model.aget_text_embedding(TEXTS[0])) == model.get_text_embedding(TEXTS[0])
    batch = asyncio.run(model.aget_text_embedding_batch(TEXTS))
    assert batch == model.get_text_embedding_batch(TEXTS)
    assert np.shape(batch) == (3, 16)


def test_retriever_finds_the_document_that_is_meant(text_model: Path) -> None:
    documents = [Document(text=text) for text in TEXTS]
    index = VectorStoreIndex.from_documents(documents, embed_model=ArrowEmbedding(text_model))
    (found,) = index.as_retriever(similarity_top_k=1).retrieve("a pet is resting")
    assert found.text == TEXTS[0]


def test_a_stored_embedding_opens_again(text_model: Path) -> None:
    options: dict[str, Any] = {"max_seq_length": 16, "truncation": "ok"}
    model = ArrowEmbedding(text_model, truncate_dim=32, embed_batch_size=2, options=options)
    again = ArrowEmbedding.from_dict(model.to_dict())
    assert (again.embed_batch_size, again.truncate_dim) == (2, 32)
    wanted = ArrowEngine(text_model, **options).encode_document("word " * 100, truncate_dim=32)
    assert again.get_text_embedding("word " * 100) == pytest.approx(wanted.tolist(), abs=1e-6)


def test_batch_size_reaches_the_engine(text_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    encode = ArrowEngine.encode

    def spy(self: ArrowEngine, inputs: object, *args: object, **options: object) -> np.ndarray:
        seen.append(args[2])
        return encode(self, inputs, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ArrowEngine, "encode", spy)
    ArrowEmbedding(text_model, embed_batch_size=7).get_text_embedding_batch(TEXTS)
    assert seen == [7]


@pytest.fixture
def image_paths(tmp_path: Path) -> list[str]:
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for pattern, path in zip(patterns(), paths, strict=True):
        Image.fromarray(pattern).save(path)
    return paths


def test_clip_embeds_texts_and_images(clip_model: Path, image_paths: list[str]) -> None:
    engine = CLIPEngine(clip_model)
    model = ClipEmbedding(engine)
    images = engine.encode_image(image_paths).tolist()
    assert model.get_image_embedding_batch(image_paths) == images
    assert asyncio.run(model.aget_image_embedding(image_paths[0])) == pytest.approx(images[0])
    assert model.get_query_embedding("a dog") == engine.encode_text("a dog").tolist()


def test_images_are_found_by_an_image(clip_model: Path, image_paths: list[str]) -> None:
    model = ClipEmbedding(clip_model)
    nodes = [ImageNode(text=f"picture {i}", image_path=p) for i, p in enumerate(image_paths)]
    index = MultiModalVectorStoreIndex(nodes, embed_model=model, image_embed_model=model)
    (found,) = index.as_retriever(image_similarity_top_k=1).image_to_image_retrieve(image_paths[2])
    assert found.node.image_path == image_paths[2]
    assert found.score == pytest.approx(1, abs=1e-6)


def test_example_of_the_documents(workplace: Path) -> None:
    assert run_example("LlamaIndex")["found"][0].text == "The cat sleeps."
