"""VisionEncoder: shapes, order, batches, opening, and work done at the same time."""

import pickle
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from llm_compression import convert
from llm_compression.errors import InputError, WeightTableNotFoundError
from llm_compression.multimodal.vision.encoder import VisionEncoder
from llm_compression.multimodal.vision.model import VisionModel
from tests.clip_checkpoints import load_reference, write_clip
from tests.conftest import CheckpointFactory
from tests.multimodal.pictures import PICTURE, PICTURES, encoded, opened

E, D, P = 24, 32, 16
Watch = Callable[[Callable[[str], object]], None]


def close(ours: np.ndarray, theirs: np.ndarray, bound: float = 1e-6) -> None:
    """Within ``bound`` of the values' size; random weights make some beyond one."""
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound * max(1, np.abs(theirs).max()))


# What comes out


def test_the_pictures_have_embeddings_of_their_own(singles: np.ndarray):
    assert singles.shape == (11, E)
    apart = np.linalg.norm(singles[:, None] - singles, axis=2) + 9 * np.eye(11)
    assert apart.min() > 1e-2


def test_one_picture_is_a_vector(encoder: VisionEncoder, tmp_path: Path, singles: np.ndarray):
    path = tmp_path / "picture.png"
    PICTURES[0].save(path)
    array = np.asarray(PICTURES[0])
    for one in (path, str(path), path.read_bytes(), PICTURES[0], array, torch.tensor(array)):
        assert encoder.encode(one).shape == (E,)
        close(encoder.encode(one), singles[0])
        assert encoder.pooled(one).shape == (D,)
        assert encoder.sequence(one).shape == (P + 1, D)


def test_many_are_an_array(encoder: VisionEncoder, singles: np.ndarray):
    close(encoder.encode(PICTURES), singles)
    close(encoder.encode(tuple(PICTURES[:1])), singles[:1])
    assert encoder.pooled(PICTURES).shape == (11, D)
    assert encoder.sequence(PICTURES).shape == (11, P + 1, D)
    batch = np.stack([np.asarray(PICTURES[0])] * 3)
    close(encoder.encode(batch), singles[[0, 0, 0]])
    close(encoder.encode(batch[:1]), singles[:1])


def test_none_are_an_empty_array(encoder: VisionEncoder):
    for none in ([], (), np.zeros((0, 8, 9, 3), np.uint8)):
        assert encoder.encode(none).shape == (0, E)
        assert encoder.pooled(none).shape == (0, D)
        assert encoder.sequence(none).shape == (0, P + 1, D)
        assert encoder.encode(none).dtype == np.float32


def test_as_transformers(encoder: VisionEncoder, tiny_clip: Path):
    reference = load_reference(tiny_clip)
    with torch.inference_mode():
        pixels = torch.from_numpy(encoder.processor(PICTURES))
        found = reference.vision_model(pixel_values=pixels)
        embeddings = reference.visual_projection(found.pooler_output)
    close(encoder.encode(PICTURES), embeddings.numpy(), 1e-5)
    close(encoder.pooled(PICTURES), found.pooler_output.numpy(), 1e-5)
    close(encoder.sequence(PICTURES), found.last_hidden_state.numpy(), 1e-5)


def test_unit_length(encoder: VisionEncoder, singles: np.ndarray):
    unit = encoder.encode(PICTURES, normalize_embeddings=True)
    close(unit, singles / np.linalg.norm(singles, axis=1, keepdims=True))
    close(encoder.encode(PICTURES[0], normalize_embeddings=True), unit[0])
    assert np.abs(np.linalg.norm(singles, axis=1) - 1).min() > 0.01


def test_taps(encoder: VisionEncoder):
    taps = encoder.taps(PICTURES[:3])
    names = ["embeddings", "pre_norm", "block.00.attn", "block.00.mlp", "block.01.attn"]
    hidden = dict.fromkeys([*names, "block.01.mlp"], (3, P + 1, D))
    shapes = {"pixels": (3, 3, 32, 32), **hidden, "pooled": (3, D), "embedding": (3, E)}
    assert {name: value.shape for name, value in taps.items()} == shapes
    assert {value.dtype for value in taps.values()} == {np.dtype(np.float32)}
    close(taps["embedding"], encoder.encode(PICTURES[:3]))
    close(taps["pooled"], encoder.pooled(PICTURES[:3]))
    close(taps["block.01.mlp"], encoder.sequence(PICTURES[:3]))
    np.testing.assert_array_equal(taps["pixels"], encoder.processor(PICTURES[:3]))
    assert encoder.taps(PICTURES[0])["embedding"].shape == (1, E)
    with pytest.raises(InputError, match="the number of images is 0"):
        encoder.taps([])


# Batches


@pytest.mark.parametrize("batch_size", [1, 3, 10, 11, 100])
def test_any_batch_size_gives_the_same_in_the_same_order(
    batch_size: int, encoder: VisionEncoder, singles: np.ndarray
):
    close(encoder.encode(PICTURES, batch_size=batch_size), singles)


def test_pooled_and_sequence_in_batches(encoder: VisionEncoder):
    for run in (encoder.pooled, encoder.sequence):
        close(run(PICTURES, batch_size=3), run(PICTURES))


def test_a_picture_that_takes_long_keeps_its_place(
    encoder: VisionEncoder, watch: Watch, singles: np.ndarray
):
    watch(lambda name: time.sleep(0.05 * (name in ("image 0", "image 4"))))
    for batch_size in (3, 11):
        close(encoder.encode(PICTURES, batch_size=batch_size), singles)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, None, "2"])
def test_no_batch_size(batch_size: Any, encoder: VisionEncoder):
    for run in (encoder.encode, encoder.pooled, encoder.sequence):
        with pytest.raises(InputError, match=f"batch_size is {batch_size!r}"):
            run(PICTURES, batch_size=batch_size)


def test_decoding_goes_on_while_the_core_works(
    encoder: VisionEncoder, watch: Watch, monkeypatch: pytest.MonkeyPatch
):
    """The core waits for a picture of the next batch, which other threads must bring."""
    later, threads, run = threading.Event(), set(), VisionModel.__call__

    def before(name: str) -> None:
        threads.add(threading.current_thread())
        if name == "image 4":
            later.set()

    def waiting(*args: Any, **options: Any) -> Any:
        assert later.wait(20), "the next batch is not decoded until this one is done"
        return run(*args, **options)

    watch(before)
    monkeypatch.setattr(VisionModel, "__call__", waiting)
    assert encoder.encode(PICTURES, batch_size=4).shape == (11, E)
    assert threading.current_thread() not in threads


def test_decoding_runs_only_so_far_ahead(encoder: VisionEncoder, watch: Watch):
    """Or the pixels of a long job would not fit into memory."""
    read: list[str] = []
    watch(read.append)
    work = encoder._decoded([PICTURE] * 100, 5, None)
    first = next(work)
    time.sleep(0.1)
    assert [index for index, _ in first] == [0, 1, 2, 3, 4]
    assert 5 <= len(read) <= 15
    work.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


# Opening


def test_from_a_checkpoint_a_table_or_a_folder(
    tiny_clip: Path, tiny_clip_table: Path, singles: np.ndarray, tmp_path: Path
):
    shutil.copy(tiny_clip_table, tmp_path / "model.parquet")
    for place in (tiny_clip, tiny_clip_table, str(tiny_clip_table), tmp_path):
        opened = VisionEncoder.from_pretrained(place)
        close(opened.encode(PICTURES), singles)
        assert opened.get_embedding_dimension() == E
    close(VisionEncoder(tmp_path).encode(PICTURES), singles)
    close(VisionEncoder(tiny_clip_table, verify=False).encode(PICTURES), singles)
    with pytest.raises(WeightTableNotFoundError, match="is a checkpoint, not a weight table"):
        VisionEncoder(tiny_clip)
    assert (
        repr(VisionEncoder(tiny_clip_table))
        == f"VisionEncoder({str(tiny_clip_table)!r}, 24 dimensions)"
    )


@pytest.mark.parametrize("kind", ["CLIPVisionModel", "CLIPVisionModelWithProjection"])
def test_a_vision_tower_alone(kind: str, tmp_path: Path):
    table = convert(write_clip(tmp_path, kind), tmp_path / "vision.parquet").path
    encoder = VisionEncoder(table)
    projected = kind.endswith("WithProjection")
    assert encoder.encode(PICTURES).shape == (11, E if projected else D)
    assert np.array_equal(encoder.encode(PICTURES), encoder.pooled(PICTURES)) is not projected


def test_a_model_of_texts_alone(tiny_table: Path, make_checkpoint: CheckpointFactory):
    for place in (tiny_table, make_checkpoint()):
        with pytest.raises(InputError, match="no vision tower, so it embeds texts only; open it"):
            VisionEncoder.from_pretrained(place)


def test_saved_and_opened_again(encoder: VisionEncoder, singles: np.ndarray, tmp_path: Path):
    saved = encoder.save_pretrained(tmp_path / "saved")
    close(VisionEncoder(tmp_path / "saved").encode(PICTURES), singles)
    assert VisionEncoder(saved).fingerprint == encoder.fingerprint


def test_pickled(tiny_clip_table: Path, singles: np.ndarray, tmp_path: Path):
    encoder = VisionEncoder(shutil.copy(tiny_clip_table, tmp_path), compute_dtype="bfloat16")
    content = pickle.dumps(encoder)
    assert len(content) < 1000
    copy = pickle.loads(content)
    assert copy.compute_dtype == "bfloat16"
    np.testing.assert_array_equal(copy.encode(PICTURES), encoder.encode(PICTURES))
    other = convert(write_clip(tmp_path / "other", seed=1), tmp_path / "other.parquet").path
    shutil.copy(other, encoder.path)
    with pytest.raises(InputError, match="holds another model than when it was pickled"):
        pickle.loads(content)


def test_bfloat16_is_close(tiny_clip_table: Path, singles: np.ndarray):
    half = VisionEncoder(tiny_clip_table, compute_dtype="bfloat16").encode(PICTURES)
    assert half.dtype == np.float32
    assert not np.array_equal(half, singles)
    lengths = np.linalg.norm(half, axis=1) * np.linalg.norm(singles, axis=1)
    assert ((half * singles).sum(1) / lengths).min() > 0.999
    assert np.abs(half - singles).max() < 0.03 * np.abs(singles).max()
    with pytest.raises(
        InputError, match="compute_dtype 'int4' is not one of float32, bfloat16, float16, int8"
    ):
        VisionEncoder(tiny_clip_table, compute_dtype="int4")


# Many at once


def test_several_threads_at_once(encoder: VisionEncoder, singles: np.ndarray):
    images: list[object] = [encoded(image, "PNG") for image in PICTURES]

    def run(turn: int) -> None:
        order = np.random.default_rng(turn).permutation(11)
        found = encoder.encode([images[i] for i in order], batch_size=1 + turn % 5)
        close(found, singles[order])

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(run, turn) for turn in range(40)]:
            future.result()


def test_one_picture_that_pillow_has_not_read_yet_many_times(
    encoder: VisionEncoder,
):
    """Several threads want its pixels at once; Pillow reads them from one file."""
    content = encoded(PICTURES[0].resize((1200, 900), Image.Resampling.NEAREST), "PNG")
    wanted = encoder.encode(content)
    for _ in range(5):
        close(encoder.encode([opened(content)] * 6), np.stack([wanted] * 6))


def test_a_progress_bar(encoder: VisionEncoder, capsys: pytest.CaptureFixture[str]):
    encoder.encode(PICTURES)
    assert capsys.readouterr() == ("", "")
    encoder.encode(PICTURES, show_progress_bar=True, batch_size=4)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "11/11" in shown.err
    assert "image" in shown.err
