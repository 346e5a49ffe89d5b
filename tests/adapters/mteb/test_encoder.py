"""mteb's own mock run over every modality, and the same results as mteb's own wrappers."""

from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.mocks.mock_run import get_compatible_mock_tasks
from mteb.models.models_protocols import EncoderProtocol
from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
from mteb.results.task_result import TaskResult
from mteb.types import PromptType
from PIL import Image

from llm_compression import ArrowEngine
from llm_compression.adapters.mteb import ArrowEncoder
from llm_compression.errors import InputError
from tests.adapters.conftest import TEXTS
from tests.adapters.documents import run_example
from tests.clip_checkpoints import patterns, write_clip
from tests.conftest import CheckpointFactory

(TASK,) = [task.metadata for task in mteb.mocks.ALL_MOCK_TASK_TEST_GRID if
           task.metadata.name == "MockRetrievalTask"]  # fmt: skip


@pytest.fixture
def lenient(recwarn: pytest.WarningsRecorder) -> None:
    """mteb's own tasks warn: of metrics on data as small as theirs, and of old names."""


def encode(encoder: Any, *batches: dict[str, Any], **options: Any) -> Any:
    return encoder.encode(
        list(batches), task_metadata=TASK, hf_split="test", hf_subset="default", **options
    )


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize(
    ("model", "modalities", "least"),
    [
        ("text_model", ["text"], 25),
        ("clip_model", ["text", "image"], 40),
        ("whisper_model", ["audio"], 7),
    ],
)
def test_mock_run_passes_every_task_of_the_modalities(
    model: str, modalities: list[str], least: int, request: pytest.FixtureRequest
) -> None:
    encoder = ArrowEncoder(request.getfixturevalue(model))
    results = mteb.mock_run(encoder)
    names = {task.metadata.name for task in get_compatible_mock_tasks(encoder)}
    assert isinstance(encoder, EncoderProtocol)
    assert encoder.mteb_model_meta.modalities == modalities
    assert len(names) >= least
    assert {n for n, result in results.items() if isinstance(result, TaskResult)} == names


@pytest.mark.usefixtures("lenient")
def test_text_scores_are_those_of_sentence_transformers(text_model: Path) -> None:
    from sentence_transformers import SentenceTransformer

    checkpoint = SentenceTransformer(str(text_model.parent / "checkpoint"), device="cpu")
    theirs = mteb.mock_run(SentenceTransformerEncoderWrapper(checkpoint))
    ours = mteb.mock_run(ArrowEncoder(text_model))
    scores = [
        {name: found.get_score() for name, found in run.items() if isinstance(found, TaskResult)}
        for run in (ours, theirs)
    ]
    assert len(scores[0]) >= 25
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_clip_embeddings_are_those_of_mteb(tmp_path: Path) -> None:
    from datasets import Dataset
    from mteb.models.model_implementations.clip_models import CLIPModel
    from torch.utils.data import DataLoader

    checkpoint = write_clip(tmp_path)
    pictures = [Image.fromarray(pattern) for pattern in patterns()]
    rows = Dataset.from_dict({"text": ["a cat", "a red bird", "the dog"], "image": pictures})
    loader = DataLoader(rows, batch_size=2, collate_fn=lambda items: {
        name: [item[name] for item in items] for name in items[0]})  # fmt: skip
    task = {"task_metadata": TASK, "hf_split": "test", "hf_subset": "default"}
    theirs = CLIPModel(str(checkpoint), "main", "cpu").encode(loader, **task)
    ours = ArrowEncoder(checkpoint).encode(loader, **task)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)


def test_prompt_type_chooses_the_prompt(text_model: Path) -> None:
    engine, encoder = ArrowEngine(text_model), ArrowEncoder(text_model)
    for prompt_type, prompt in [
        (PromptType.query, "query: "), (PromptType.document, "passage: "), (None, ""),
    ]:  # fmt: skip
        found = encode(encoder, {"text": TEXTS[:2]}, {"text": TEXTS[2:]}, prompt_type=prompt_type)
        np.testing.assert_allclose(found, engine.encode(TEXTS, prompt=prompt), atol=1e-6)


def test_documents_have_the_prompt_that_a_model_calls_passage(
    make_checkpoint: CheckpointFactory,
) -> None:
    checkpoint = make_checkpoint(prompts={"passage": "passage : "})
    found = encode(ArrowEncoder(checkpoint), {"text": TEXTS}, prompt_type=PromptType.document)
    wanted = ArrowEngine.from_pretrained(checkpoint).encode(TEXTS, prompt="passage : ")
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_prompts_of_a_task_come_first(text_model: Path) -> None:
    prompts = {"MockRetrievalTask-query": "find: ", "query": "unused "}
    encoder = ArrowEncoder(text_model, prompts=prompts)
    found = encode(encoder, {"text": TEXTS}, prompt_type=PromptType.query)
    np.testing.assert_array_equal(found, ArrowEngine(text_model).encode(TEXTS, prompt="find: "))


def test_precision_and_batch_size_are_taken_and_others_refused(text_model: Path) -> None:
    encoder = ArrowEncoder(text_model)
    found = encode(encoder, {"text": TEXTS}, precision="ubinary", batch_size=1)
    assert (found.dtype, found.shape) == (np.uint8, (3, 48))
    with pytest.raises(InputError, match="pool: no such option"):
        encode(encoder, {"text": TEXTS}, pool=None)


def test_modality_without_a_tower_is_refused(text_model: Path) -> None:
    with pytest.raises(InputError, match="embeds text, not image"):
        encode(ArrowEncoder(text_model), {"image": patterns()})


def test_a_device_that_is_not_here_is_refused(text_model: Path) -> None:
    with pytest.raises(InputError, match="device is 'cuda:99'"):
        ArrowEncoder(text_model, device="cuda:99")


def test_meta_identifies_the_weights(text_model: Path) -> None:
    meta = ArrowEncoder(text_model, name="someone/minilm").mteb_model_meta
    assert (meta.name, meta.embed_dim, meta.max_tokens) == ("someone/minilm", 384, 256)
    assert meta.revision == ArrowEngine(text_model).fingerprint
    assert ArrowEncoder(text_model).mteb_model_meta.name == "llm-compression/minilm"


@pytest.mark.usefixtures("lenient")
def test_example_of_the_documents(workplace: Path) -> None:
    assert run_example("MTEB")["results"].all_passed
