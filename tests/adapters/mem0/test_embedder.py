"""mem0's Memory over an embedded vector store, its embedder from the configuration."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mem0 import AsyncMemory, Memory
from mem0.configs.embeddings.base import BaseEmbedderConfig

from llm_compression import ArrowEngine
from llm_compression.adapters.mem0 import ArrowEmbedder, embedder
from llm_compression.errors import InputError
from tests.adapters.conftest import TEXTS
from tests.adapters.documents import run_example


def config(model: Path, folder: Path, dims: int = 384, **options: Any) -> dict[str, Any]:
    store = {"path": str(folder / "qdrant"), "embedding_model_dims": dims}
    return {
        "embedder": embedder(model, **options),
        "vector_store": {"provider": "qdrant", "config": store},
        "llm": {"provider": "openai", "config": {"api_key": "unused"}},
        "history_db_path": str(folder / "history.db"),
    }


@pytest.fixture
def memory(text_model: Path, tmp_path: Path) -> Iterator[Memory]:
    opened = Memory.from_config(config(text_model, tmp_path))
    yield opened
    opened.close()


def test_memory_finds_what_was_added_without_a_language_model(memory: Memory) -> None:
    for text in TEXTS:
        memory.add(text, user_id="ann", infer=False)
    found = memory.search("a pet is resting", filters={"user_id": "ann"}, top_k=1)["results"]
    assert [row["memory"] for row in found] == [TEXTS[0]]


def test_updated_memory_is_found_by_its_new_text(memory: Memory) -> None:
    (added,) = memory.add(TEXTS[0], user_id="ann", infer=False)["results"]
    memory.update(added["id"], "The train leaves at noon.")
    (found,) = memory.search("railway", filters={"user_id": "ann"}, threshold=0.0)["results"]
    assert found["memory"] == "The train leaves at noon."


def test_asynchronous_memory(text_model: Path, tmp_path: Path) -> None:
    async def run() -> str:
        memory = AsyncMemory.from_config(config(text_model, tmp_path))
        await memory.add(TEXTS[2], user_id="ann", infer=False)
        rows = await memory.search("music", filters={"user_id": "ann"}, threshold=0.0)
        return str(rows["results"][0]["memory"])

    assert asyncio.run(run()) == TEXTS[2]


def test_actions_have_the_models_prompts(text_model: Path) -> None:
    made = ArrowEmbedder(BaseEmbedderConfig(model=str(text_model)))
    engine = ArrowEngine(text_model)
    query, passage = (engine.encode(TEXTS[0], prompt=p).tolist() for p in ("query: ", "passage: "))
    assert made.embed(TEXTS[0], "search") == query
    assert made.embed(TEXTS[0], "add") == made.embed(TEXTS[0], "update") == passage
    assert made.embed(TEXTS[0]) == passage
    batch = engine.encode(TEXTS, prompt="passage: ").tolist()
    assert made.embed_batch(TEXTS, "add") == batch
    assert made.embed_batch([]) == []


def test_unknown_action_is_refused(text_model: Path) -> None:
    made = ArrowEmbedder(BaseEmbedderConfig(model=str(text_model)))
    with pytest.raises(InputError, match="memory_action 'delete' is not one of"):
        made.embed(TEXTS[0], "delete")


def test_embedding_dims_is_the_width(text_model: Path) -> None:
    kwargs = {"truncate_dim": 64, "max_seq_length": 32}
    cut = ArrowEmbedder(BaseEmbedderConfig(model=str(text_model), model_kwargs=kwargs))
    assert cut.config.embedding_dims == len(cut.embed(TEXTS[0])) == 64
    assert cut.engine.max_seq_length == 32


def test_other_embedding_dims_are_refused_with_both(text_model: Path) -> None:
    wrong = BaseEmbedderConfig(model=str(text_model), embedding_dims=1536)
    with pytest.raises(InputError, match=r"embedding_dims is 1536, but .* are 384 wide"):
        ArrowEmbedder(wrong)


def test_embedder_without_a_model_is_refused() -> None:
    with pytest.raises(InputError, match="names no model"):
        ArrowEmbedder()


def test_example_of_the_documents(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    names = run_example("mem0")
    assert names["found"]["results"][0]["memory"] == "The cat sleeps."
    names["memory"].close()
