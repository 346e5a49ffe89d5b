"""ArrowEngineProvider keeps the contract, and a process shares one provider."""

import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from llm_compression import (
    ArrowEngineProvider,
    EmbeddingCache,
    convert,
    get_default_provider,
    reset_provider,
)
from llm_compression.errors import InputError, ModalityUnavailableError
from llm_compression.memory.providers import arrow_provider
from llm_compression.memory.providers.provider import EmbeddingProviderProtocol
from tests.conftest import CheckpointFactory

TEXTS = ["the cat sits", "a dog runs", "red"]


@pytest.fixture(scope="module")
def provider(tiny_table: Path) -> ArrowEngineProvider:
    return ArrowEngineProvider(tiny_table)


@pytest.fixture
def wider_table(make_checkpoint: CheckpointFactory, tmp_path: Path) -> Path:
    """Of a model of another width."""
    checkpoint = make_checkpoint(hidden_size=48, num_attention_heads=4, seed=5)
    return convert(checkpoint, tmp_path / "other.parquet").path


@pytest.fixture(scope="module")
def prompted(make_checkpoint: CheckpointFactory) -> ArrowEngineProvider:
    """Of a model with prompts."""
    prompts = {"query": "query : ", "passage": "passage : "}
    return ArrowEngineProvider(make_checkpoint(prompts=prompts, seed=3))


def test_the_contract(provider: ArrowEngineProvider):
    assert isinstance(provider, EmbeddingProviderProtocol)
    assert (provider.dimension, provider.get_embedding_dimension()) == (32, 32)
    one, many = provider.encode(TEXTS[0]), provider.encode_batch(TEXTS)
    assert (one.shape, many.shape, one.dtype, many.dtype) == ((32,), (3, 32), "f4", "f4")
    np.testing.assert_allclose(one, many[0], atol=1e-6)
    np.testing.assert_allclose(many, provider.engine.encode(TEXTS), atol=1e-6)
    assert provider.encode_batch(TEXTS[:1]).shape == (1, 32)


def test_what_is_open_stays_so_whatever_becomes_of_its_file(
    tmp_path: Path, tiny_table: Path, wider_table: Path, monkeypatch: pytest.MonkeyPatch
):
    path = Path(shutil.copy(tiny_table, tmp_path / "model.parquet"))
    monkeypatch.chdir(tmp_path)
    provider = ArrowEngineProvider("model.parquet")
    wanted = provider.encode(TEXTS[0])
    monkeypatch.chdir("/")
    wider_table.replace(path)
    assert provider.dimension == provider.identity("text").dimension == len(wanted)
    np.testing.assert_array_equal(provider.encode(TEXTS[0]), wanted)


def test_texts_may_be_an_arrow_array(provider: ArrowEngineProvider):
    np.testing.assert_array_equal(
        provider.encode_batch(pa.chunked_array([TEXTS])), provider.encode_batch(TEXTS)
    )


@pytest.mark.parametrize("path", [None, 3, b"model.parquet"])
def test_a_path_that_is_none_is_refused(path: object):
    with pytest.raises(InputError, match=r"pass a string or a pathlib.Path"):
        ArrowEngineProvider(path)


def test_a_flag_that_is_none_is_refused(tiny_table: Path):
    with pytest.raises(InputError, match="normalize_embeddings is 'no'"):
        ArrowEngineProvider(tiny_table, normalize_embeddings="no")


def test_a_cache_that_is_none_is_refused(tiny_table: Path):
    with pytest.raises(InputError, match=r"cache is 'x.cache'; pass an EmbeddingCache"):
        ArrowEngineProvider(tiny_table, cache="x.cache")


@pytest.mark.parametrize("normalize", [True, False])
def test_normalize_is_honoured(normalize: bool, tiny_table: Path):
    """By a call, else by the provider."""
    told = ArrowEngineProvider(tiny_table, "cpu", normalize)
    other = ArrowEngineProvider(tiny_table, normalize_embeddings=not normalize)
    wanted = told.engine.encode(TEXTS, normalize_embeddings=normalize)
    assert np.allclose(np.linalg.norm(wanted, axis=1), 1) is normalize
    for found in (told.encode_batch(TEXTS), other.encode_batch(TEXTS, 32, normalize)):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_allclose(other.encode(TEXTS[1], normalize), wanted[1], atol=1e-6)
    assert told.identity("text").normalized is normalize


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("blank", ["", " ", "\n\t\u3000"])
def test_blank_text_has_the_zero_vector(blank: str, normalize: bool, provider: ArrowEngineProvider):
    np.testing.assert_array_equal(provider.encode(blank, normalize), np.zeros(32))
    found = provider.encode_batch([blank, TEXTS[0], blank], normalize=normalize)
    np.testing.assert_array_equal(found[[0, 2]], np.zeros((2, 32)))
    np.testing.assert_array_equal(found[1], provider.encode(TEXTS[0], normalize))
    assert found.dtype == np.float32


def test_no_texts_give_no_rows(provider: ArrowEngineProvider):
    assert provider.encode_batch([]).shape == (0, 32)
    assert provider.embed("text", "text", []).shape == (0, 32)


@pytest.mark.parametrize("show", [True, False])
def test_progress_is_shown_as_told(
    show: bool, provider: ArrowEngineProvider, capsys: pytest.CaptureFixture[str]
):
    provider.encode_batch(TEXTS, show_progress=show)
    assert ("embedding" in capsys.readouterr().err) is show


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p: p.encode(TEXTS), "text is list; pass a string, or use encode_batch"),
        (lambda p: p.encode(None), "text is NoneType"),
        (lambda p: p.encode_batch("the cat"), "texts is a string"),
        (lambda p: p.encode_batch(["a", None]), "text 1 is NoneType, not a string"),
        (lambda p: p.encode_batch(["a"], batch_size=0), "batch_size is 0"),
        (lambda p: p.encode("a", normalize="no"), "normalize is 'no'; it must be True or False"),
        (lambda p: p.encode_batch([" "], normalize="no"), "normalize is 'no'"),
        (lambda p: p.encode_batch(["a"], show_progress="no"), "show_progress_bar is 'no'"),
        (lambda p: p.embed("text", "text", ["a"], query="no"), "query is 'no'"),
        (lambda p: p.embed("text", "text", ["a", " "]), "text 1 is blank"),
        (lambda p: p.embed("text", "text", "a"), "inputs is a string"),
        (
            lambda p: p.embed("text", "image", ["a"]),
            "no 'text' vectors of 'image'; there are",
        ),
        (lambda p: p.embed("smell", "text", ["a"]), "no 'smell' vectors of 'text'"),
        (lambda p: p.identity("smell"), "modality 'smell' is not one of text, vision, audio, clip"),
    ],
)
def test_what_cannot_be_embedded(call, said: str, provider: ArrowEngineProvider):
    with pytest.raises(InputError, match=said):
        call(provider)


def test_a_device_that_is_not_here_is_refused(tiny_table: Path):
    with pytest.raises(InputError, match="device is 'cuda:99'"):
        ArrowEngineProvider(tiny_table, device="cuda:99")


def test_it_has_texts_alone(provider: ArrowEngineProvider):
    with pytest.raises(ModalityUnavailableError, match="there is no vision model here; give Multi"):
        provider.embed("vision", "image", [])


# prompts and identity


def test_texts_are_stored_and_searched_by_their_prompts(prompted: ArrowEngineProvider):
    engine = prompted.engine
    stored, asked = engine.encode_document(TEXTS), engine.encode_query(TEXTS)
    assert not np.allclose(stored, asked, atol=1e-3)
    np.testing.assert_array_equal(prompted.embed("text", "text", TEXTS), stored)
    np.testing.assert_array_equal(prompted.encode_batch(TEXTS), stored)
    np.testing.assert_array_equal(prompted.embed("text", "text", TEXTS, query=True), asked)
    assert prompted.identity("text").prompt == "passage : "


def test_the_identity_is_that_of_the_engine(provider: ArrowEngineProvider):
    identity, engine = provider.identity("text"), provider.engine
    assert (identity.model, identity.dimension, identity.pooling) == (
        engine.fingerprint,
        32,
        "mean",
    )
    assert (identity.modality, identity.normalized, identity.dimension) == ("text", True, 32)


def test_it_opens_again_where_it_is_sent(tiny_table: Path, tmp_path: Path):
    cache = EmbeddingCache(tmp_path / "cache.db", max_entries=7)
    sent = pickle.dumps(ArrowEngineProvider(tiny_table, normalize_embeddings=False, cache=cache))
    found = pickle.loads(sent)
    assert (found.normalize_embeddings, found.cache.path) == (False, tmp_path / "cache.db")
    assert (found.cache.max_entries, found.engine.path) == (7, tiny_table)


# the provider of the process


@pytest.fixture
def no_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ARROW_MODEL_PATH", raising=False)
    reset_provider()
    yield
    reset_provider()


@pytest.mark.usefixtures("no_default")
class TestDefault:
    def test_without_a_path(self):
        with pytest.raises(ModalityUnavailableError, match="pass model_path, or set ARROW_MODEL_"):
            get_default_provider()

    def test_the_path_of_the_environment_is_read_when_it_is_needed(
        self, tiny_table: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("ARROW_MODEL_PATH", str(tiny_table))
        assert get_default_provider().engine.path == tiny_table

    def test_there_is_one(self, tiny_table: Path):
        first = get_default_provider(tiny_table)
        assert get_default_provider() is first
        reset_provider()
        assert get_default_provider(tiny_table) is not first

    def test_a_path_given_wins_over_the_environment(
        self, tiny_table: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("ARROW_MODEL_PATH", "/nowhere")
        assert get_default_provider(tiny_table) is get_default_provider()

    def test_another_spelling_is_the_same_file(
        self, tiny_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        (tmp_path / "model.parquet").symlink_to(tiny_table)
        monkeypatch.chdir(tiny_table.parent)
        first = get_default_provider(tiny_table)
        for spelled in (str(tiny_table), tiny_table.name, tmp_path, f"{tmp_path}/./model.parquet"):
            assert get_default_provider(spelled) is first

    def test_another_model_is_refused(self, tiny_table: Path, tmp_path: Path):
        first = get_default_provider(tiny_table)
        with pytest.raises(InputError) as caught:
            get_default_provider(tmp_path / "other.parquet")
        for part in (str(tiny_table), str(tmp_path / "other.parquet"), "reset_provider"):
            assert part in str(caught.value)
        assert get_default_provider() is first

    def test_a_failure_is_not_kept(self, tiny_table: Path, tmp_path: Path):
        broken = tmp_path / "no.parquet"
        with pytest.raises(FileNotFoundError):
            get_default_provider(broken)
        assert get_default_provider(tiny_table).engine.path == tiny_table

    def test_many_threads_open_one(self, tiny_table: Path, monkeypatch: pytest.MonkeyPatch):
        opened, found = [], []
        barrier = threading.Barrier(8)

        class Counted(ArrowEngineProvider):
            def __init__(self, path: Path) -> None:
                opened.append(path)
                super().__init__(path)

        def ask() -> None:
            barrier.wait()
            found.append(get_default_provider(tiny_table))

        monkeypatch.setattr(arrow_provider, "ArrowEngineProvider", Counted)
        threads = [threading.Thread(target=ask) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert (len(opened), len(found), len({id(one) for one in found})) == (1, 8, 1)


def test_callers_import_it_from_where_they_did():
    from llm_compression import embedding_provider

    assert embedding_provider.get_default_provider is get_default_provider
    assert embedding_provider.ArrowEngineProvider is ArrowEngineProvider
