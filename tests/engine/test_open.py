"""Opening and saving: files, folders, checkpoints, and what is converted once."""

import os
import pickle
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_compression import ArrowEngine, WeightLoader, convert
from llm_compression.conversion import convert as convert_module
from llm_compression.errors import (
    CheckpointNotFoundError,
    CorruptWeightTableError,
    InputError,
    NotAWeightTableError,
    OutputError,
    WeightTableNotFoundError,
)
from llm_compression.multimodal.open import StaleModelWarning, locate
from tests.conftest import CheckpointFactory


def no_network(*_: object, **__: object) -> None:
    raise AssertionError("a local path must not touch the network")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)


@pytest.mark.usefixtures("offline")
def test_a_checkpoint_folder_converts_once(
    make_checkpoint: CheckpointFactory, empty_cache: Path
) -> None:
    checkpoint = make_checkpoint()
    first = ArrowEngine.from_pretrained(checkpoint)
    stamp = first.path.stat().st_mtime_ns
    assert first.path.is_relative_to(empty_cache)
    assert ArrowEngine.from_pretrained(str(checkpoint)).path.stat().st_mtime_ns == stamp
    assert sorted(path.name for path in checkpoint.iterdir()) == sorted(
        ["1_Pooling", "config.json", "model.safetensors", "modules.json",
         "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json"]
    )  # fmt: skip


def test_a_changed_checkpoint_converts_again(
    make_checkpoint: CheckpointFactory, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint()
    before = ArrowEngine.from_pretrained(checkpoint)
    other = make_checkpoint(seed=5) / "model.safetensors"
    (checkpoint / "model.safetensors").write_bytes(other.read_bytes())
    week = 7 * 24 * 3600
    os.utime(before.path, (time.time() - week - 60,) * 2)
    after = ArrowEngine.from_pretrained(checkpoint)
    assert after.fingerprint != before.fingerprint
    assert not before.path.exists(), "what was made long ago is dropped"


@pytest.mark.usefixtures("offline")
def test_save_and_open_again(tiny_table: Path, tmp_path: Path) -> None:
    engine = ArrowEngine(tiny_table)
    saved = engine.save_pretrained(tmp_path / "saved")
    assert saved.read_bytes() == tiny_table.read_bytes()
    again = ArrowEngine.from_pretrained(tmp_path / "saved", truncation="ok")
    assert again.fingerprint == engine.fingerprint
    np.testing.assert_array_equal(again.encode("the cat"), engine.encode("the cat"))
    assert ArrowEngine(tmp_path / "saved").save_pretrained(tmp_path / "saved") == saved


def test_mapped_and_decoded_weights_agree(tiny_table: Path) -> None:
    texts = ["the cat", "a dog runs"]
    mapped, decoded = (ArrowEngine(tiny_table, mapped=mapped) for mapped in (True, False))
    np.testing.assert_array_equal(mapped.encode(texts), decoded.encode(texts))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["./absent", "/absent/folder", "absent.parquet", "a/b/c"])
def test_an_absent_path_is_no_hub_id(name: str) -> None:
    with pytest.raises(CheckpointNotFoundError, match="hub id"):
        ArrowEngine.from_pretrained(name)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello, this is not a model at all")
    with pytest.raises(NotAWeightTableError, match=r"notes\.txt"):
        ArrowEngine.from_pretrained(tmp_path / "notes.txt")


def test_encoding_never_changes_the_weights(tiny_table: Path) -> None:
    engine = ArrowEngine(tiny_table)
    before = engine.encode(["the cat sits", "a dog"])
    engine.encode(["a dog runs"] * 50, precision="ubinary")
    engine.taps(["red"])
    np.testing.assert_array_equal(engine.encode(["the cat sits", "a dog"]), before)


def test_prompts_stand_in_front(make_checkpoint: CheckpointFactory) -> None:
    prompts = {"query": "query : ", "passage": "passage : "}
    engine = ArrowEngine.from_pretrained(make_checkpoint(prompts=prompts))
    assert engine.prompts == prompts
    assert engine.encode("red", prompt_name="document").shape == (32,), "unset, so empty"
    wanted = engine.encode(["query : red", "passage : red", "red"])
    np.testing.assert_allclose(engine.encode_query("red"), wanted[0], atol=1e-6)
    np.testing.assert_allclose(engine.encode_document("red"), wanted[1], atol=1e-6)
    np.testing.assert_allclose(engine.encode("red"), wanted[2], atol=1e-6)
    np.testing.assert_allclose(engine.encode("red", prompt_name="query"), wanted[0], atol=1e-6)
    np.testing.assert_allclose(engine.encode_query("red", prompt=""), wanted[2], atol=1e-6)
    np.testing.assert_allclose(
        engine.encode_document("red", prompt_name="query"), wanted[0], atol=1e-6
    )


def test_a_file_beside_the_model_that_is_not_ours_stays(tiny_table: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.arrow"
    model.write_bytes(tiny_table.read_bytes())
    foreign = tmp_path / "m.arrow.arrow"
    foreign.write_bytes(b"somebody's own table")
    ArrowEngine(model).encode("the cat")
    assert model.read_bytes() == tiny_table.read_bytes()
    assert foreign.read_bytes() == b"somebody's own table"


def test_a_folder_that_cannot_be_written(tiny_table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        ArrowEngine(tiny_table).save_pretrained(tmp_path / "file" / "folder")


def test_a_null_byte_is_no_path() -> None:
    with pytest.raises(InputError, match="null byte"):
        ArrowEngine("a\0b")


def test_taps_of_nothing(tiny_table: Path) -> None:
    with pytest.raises(InputError, match="number of texts is 0"):
        ArrowEngine(tiny_table).taps([])


def test_a_pickle_holds_the_path_not_the_weights(tiny_table: Path) -> None:
    engine = ArrowEngine(tiny_table, truncation="ok", deterministic=True)
    pickled = pickle.dumps(engine)
    assert len(pickled) < 2000
    again = pickle.loads(pickled)
    assert again.deterministic
    np.testing.assert_array_equal(again.encode("the cat " * 40), engine.encode("the cat " * 40))


def test_damaged_values_of_the_mapped_copy_are_never_used(
    tiny_table: Path, empty_cache: Path
) -> None:
    wanted = ArrowEngine(tiny_table).encode("the cat sits")
    (copy,) = empty_cache.rglob("*.arrow")
    content = bytearray(copy.read_bytes())
    start = WeightLoader(tiny_table, mapped=True).get_tensor("text.block.00.mlp.up.weight")
    place = content.index(start.numpy().tobytes())
    content[place + 3] ^= 0x40
    copy.write_bytes(content)
    assert (
        ArrowEngine(tiny_table, verify=False).encode("the cat sits").tobytes() != wanted.tobytes()
    )
    np.testing.assert_array_equal(ArrowEngine(tiny_table).encode("the cat sits"), wanted)
    assert copy.read_bytes() != bytes(content), "it was made again"


def test_a_checkpoint_is_no_weight_table(tiny_bert: Path) -> None:
    with pytest.raises(WeightTableNotFoundError, match="`from_pretrained` opens it"):
        ArrowEngine(tiny_bert)


def test_an_empty_path() -> None:
    with pytest.raises(InputError, match="path is empty"):
        ArrowEngine.from_pretrained("")


def test_a_cache_that_cannot_be_written(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LLM_COMPRESSION_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"cannot write .*file/models/.*choose another place"):
        ArrowEngine.from_pretrained(tiny_bert)


def test_a_table_that_was_damaged_or_replaced_is_not_saved(
    tiny_table: Path, make_checkpoint: CheckpointFactory, tmp_path: Path
) -> None:
    model = tmp_path / "model.parquet"
    content = bytearray(tiny_table.read_bytes())
    model.write_bytes(content)
    engine = ArrowEngine(model)
    content[len(content) // 3] ^= 1
    model.write_bytes(content)
    with pytest.raises(CorruptWeightTableError, match="damage in"):
        engine.save_pretrained(tmp_path / "saved")
    other = ArrowEngine.from_pretrained(make_checkpoint(seed=9))
    model.write_bytes(other.path.read_bytes())
    with pytest.raises(InputError, match="another model"):
        engine.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_the_maximum_length_can_be_set(tiny_table: Path) -> None:
    engine = ArrowEngine(tiny_table, truncation="ok")
    engine.max_seq_length = 6
    assert len(engine.token_ids(["the cat " * 20])[0]) == 6
    wanted = ArrowEngine(tiny_table, truncation="ok", max_seq_length=6)
    got, again = engine.encode("the cat " * 20), pickle.loads(pickle.dumps(engine))
    np.testing.assert_array_equal(got, wanted.encode("the cat " * 20))
    assert again.max_seq_length == 6
    engine.max_seq_length = 20
    assert len(engine.token_ids(["the cat " * 20])[0]) == 20
    for bad in (0, engine.spec.text.max_tokens + 1, 2.5, 2):
        with pytest.raises(InputError, match=r"max_seq_length is|leaves no room"):
            engine.max_seq_length = bad
    assert engine.max_seq_length == 20


def test_an_engine_shows_what_it_holds(tiny_table: Path) -> None:
    assert repr(ArrowEngine(tiny_table)) == f"ArrowEngine({str(tiny_table)!r}, 32 dimensions)"


def test_a_relative_path_outlives_a_change_of_folder(
    tiny_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.parquet").write_bytes(tiny_table.read_bytes())
    monkeypatch.chdir(tmp_path)
    engine = ArrowEngine("m.parquet")
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(engine)).fingerprint == engine.fingerprint
    engine.save_pretrained(tmp_path / "saved")


def test_weights_of_one_size_and_time_are_told_apart(make_checkpoint: CheckpointFactory) -> None:
    """As an archive restores them that gives all files one time."""
    checkpoint = make_checkpoint()
    weights = checkpoint / "model.safetensors"
    os.utime(weights, (0, 0))
    before = ArrowEngine.from_pretrained(checkpoint)
    weights.write_bytes((make_checkpoint(seed=5) / "model.safetensors").read_bytes())
    os.utime(weights, (0, 0))
    assert ArrowEngine.from_pretrained(checkpoint).fingerprint != before.fingerprint
    assert before.save_pretrained(checkpoint.parent / "still-there").is_file()


def test_weights_that_are_newer_than_the_table_beside_them(
    make_checkpoint: CheckpointFactory,
) -> None:
    checkpoint = make_checkpoint()
    table = convert(checkpoint, checkpoint).path
    ArrowEngine.from_pretrained(checkpoint)
    os.utime(table, (0, 0))
    with pytest.warns(StaleModelWarning, match="older than model.safetensors beside it"):
        ArrowEngine.from_pretrained(checkpoint)


def test_ranges_of_other_lengths_are_refused(tiny_table: Path) -> None:
    engine, texts = ArrowEngine(tiny_table), ["the cat", "a dog runs", "red"]
    ranges = engine.calibrate(texts)
    with pytest.raises(InputError, match="of unit length, these are as they come"):
        engine.encode(texts, precision="int8", ranges=ranges, normalize_embeddings=False)
    raw = engine.calibrate(texts, normalize_embeddings=False)
    engine.encode(texts, precision="int8", ranges=raw, normalize_embeddings=False)


def test_a_prompt_name_that_is_no_name(tiny_table: Path) -> None:
    with pytest.raises(InputError, match="prompt_name is list"):
        ArrowEngine(tiny_table).encode("a", prompt_name=["query"])  # type: ignore[arg-type]


def test_two_that_open_a_checkpoint_at_once_convert_it_once(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []
    right = convert_module._write

    def slow(path: Path, *rest: Any) -> object:
        written.append(path)
        time.sleep(0.3)
        return right(path, *rest)

    monkeypatch.setattr(convert_module, "_write", slow)
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(locate, [tiny_bert] * 3))
    assert len(set(paths)) == 1
    assert len(written) == 1


@pytest.mark.parametrize("flag", ["mapped", "verify", "packed", "deterministic"])
@pytest.mark.parametrize("value", ["no", None, 2])
def test_a_flag_is_true_or_false(flag: str, value: object, tiny_table: Path) -> None:
    with pytest.raises(InputError, match=rf"{flag} is {value!r}; it must be True or False"):
        ArrowEngine(tiny_table, **{flag: value})  # type: ignore[arg-type]
