"""LangChain's own tests of embeddings, and which prompt stands where."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from llm_compression import ArrowEngine
from llm_compression.adapters.langchain import ArrowEmbeddings
from llm_compression.errors import InputError
from tests.adapters.conftest import TEXTS
from tests.adapters.documents import run_example


class OfMiniLM:
    @pytest.fixture(autouse=True)
    def _model_path(self, text_model: Path) -> None:
        self.path = text_model

    @property
    def embeddings_class(self) -> type[ArrowEmbeddings]:
        return ArrowEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": self.path}


class TestUnit(OfMiniLM, EmbeddingsUnitTests):
    pass


class TestIntegration(OfMiniLM, EmbeddingsIntegrationTests):
    pass


def test_queries_and_documents_have_the_models_prompts(text_model: Path) -> None:
    engine = ArrowEngine(text_model)
    embeddings = ArrowEmbeddings(engine)
    assert embeddings.embed_query(TEXTS[0]) == engine.encode(TEXTS[0], prompt="query: ").tolist()
    assert embeddings.embed_documents(TEXTS) == engine.encode(TEXTS, prompt="passage: ").tolist()


def test_truncate_dim_cuts_both(text_model: Path) -> None:
    embeddings = ArrowEmbeddings(text_model, truncate_dim=64)
    assert np.shape(embeddings.embed_query(TEXTS[0])) == (64,)
    assert np.shape(embeddings.embed_documents(TEXTS)) == (3, 64)


def test_vector_store_finds_the_document_that_is_meant(text_model: Path) -> None:
    store = InMemoryVectorStore.from_texts(TEXTS, ArrowEmbeddings(text_model))
    (found,) = store.similarity_search("a pet is resting", k=1)
    assert found.page_content == TEXTS[0]


def test_options_of_an_open_engine_are_refused(text_model: Path) -> None:
    with pytest.raises(InputError, match="max_seq_length cannot change a model that is open"):
        ArrowEmbeddings(ArrowEngine(text_model), max_seq_length=16)


def test_another_kind_of_open_model_is_refused(clip_model: Path) -> None:
    from llm_compression import CLIPEngine

    with pytest.raises(InputError, match="open as CLIPEngine; open it as ArrowEngine"):
        ArrowEmbeddings(CLIPEngine(clip_model))  # type: ignore[arg-type]


def test_example_of_the_documents(workplace: Path) -> None:
    assert run_example("LangChain")["found"][0].page_content == "The cat sleeps."
