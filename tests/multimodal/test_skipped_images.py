"""Pictures that cannot be read: the first is named, or they are left out and listed."""

import re
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llm_compression.errors import InputError
from llm_compression.multimodal.skipped import EncodedInputs, SkippedInputWarning
from llm_compression.multimodal.vision.encoder import VisionEncoder
from tests.multimodal.pictures import FILES, PICTURE, PICTURES

BROKEN = b"no picture"
Watch = Callable[[Callable[[str], object]], None]


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def thousand() -> list[object]:
    """Small pictures of 1,000 colours with a truncated JPEG among them."""
    colours = np.random.default_rng(0).integers(0, 256, (1000, 1, 1, 3), np.uint8)
    images: list[object] = list(np.broadcast_to(colours, (1000, 6, 7, 3)))
    images[617] = FILES["jpeg"][:900]
    return images


def test_one_broken_picture_among_a_thousand_is_named(encoder: VisionEncoder):
    with pytest.raises(InputError, match="image 617 is a damaged image: image file is truncated"):
        encoder.encode(thousand(), batch_size=100)
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_one_broken_picture_among_a_thousand_is_skipped(encoder: VisionEncoder):
    images = thousand()
    with pytest.warns(SkippedInputWarning, match="1 of 1000 images were skipped, .* image 617 is"):
        found = encoder.encode(images, batch_size=100, on_error="skip")
    assert isinstance(found, EncodedInputs)
    del images[617]
    same(found.embeddings, encoder.encode(images, batch_size=100))
    assert found.indices.tolist() == [i for i in range(1000) if i != 617]
    assert list(found.skipped) == [617]
    assert found.skipped[617].startswith("image 617 is a damaged image: image file is truncated")


def test_a_file_that_is_broken_is_named_by_its_path(encoder: VisionEncoder, tmp_path: Path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(FILES["jpeg"][:900])
    for run in (encoder.encode, encoder.pooled, encoder.sequence, encoder.taps):
        with pytest.raises(InputError, match=re.escape(f"{path} is a damaged image")):
            run([PICTURE, path])


def test_the_first_of_several_is_named(encoder: VisionEncoder, watch: Watch):
    """Not the one that failed first."""
    images: list[object] = [*PICTURES]
    images[2] = images[3] = images[9] = BROKEN
    watch(lambda name: time.sleep(0.05 * (name == "image 2")))
    for batch_size in (1, 4, 32):
        with pytest.raises(InputError, match="image 2 is some other data"):
            encoder.encode(images, batch_size=batch_size)


def test_nothing_more_is_read_after_an_error(encoder: VisionEncoder, watch: Watch):
    """Neither in later batches nor, but for what was begun, in those that were to come next."""
    read: list[str] = []
    watch(lambda name: (read.append(name), time.sleep(0.001 * (name != "image 0"))))
    with pytest.raises(InputError, match="image 0 is"):
        encoder.encode([BROKEN, *[PICTURE] * 999], batch_size=4)
    assert len(read) <= 12
    with pytest.raises(InputError, match="image 0 is"):
        encoder.encode([BROKEN, *[PICTURE] * 999], batch_size=333)
    assert len(read) < 500


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_several_are_skipped(
    batch_size: int, encoder: VisionEncoder, watch: Watch, singles: np.ndarray
):
    watch(lambda name: time.sleep(0.05 * (name == "image 0")))
    images: list[object] = [*PICTURES]
    broken = {0: BROKEN, 4: None, 5: np.full((6, 7), np.nan), 10: "missing.png"}
    for index, source in broken.items():
        images[index] = source
    with pytest.warns(SkippedInputWarning, match="4 of 11 .*because: image 0 is some other data"):
        found = encoder.encode(images, batch_size=batch_size, on_error="skip")
    kept = [i for i in range(11) if i not in broken]
    assert found.indices.tolist() == kept
    same(found.embeddings, singles[kept])
    assert list(found.skipped) == list(broken)
    for index, name in [(0, "image 0"), (4, "image 4"), (5, "image 5"), (10, "missing.png")]:
        assert name in found.skipped[index]


def test_all_are_skipped(encoder: VisionEncoder):
    for images, count in (([BROKEN] * 5, 5), (BROKEN, 1)):
        with pytest.warns(SkippedInputWarning, match=f"{count} of {count} images"):
            found = encoder.encode(images, batch_size=2, on_error="skip")
        assert found.embeddings.shape == (0, 24)
        assert found.indices.shape == (0,)
        assert len(found.skipped) == count


def test_none_is_skipped(encoder: VisionEncoder, singles: np.ndarray):
    """Without a warning, which would be an error here."""
    found = encoder.encode(PICTURES, on_error="skip")
    same(found.embeddings, singles)
    assert (found.indices.tolist(), found.skipped) == ([*range(11)], {})
    found = encoder.encode(PICTURES[3], on_error="skip")
    same(found.embeddings, singles[3:4])
    assert encoder.encode([], on_error="skip").embeddings.shape == (0, 24)


def test_the_warning_points_at_the_caller(encoder: VisionEncoder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encoder.encode([BROKEN], on_error="skip")
    assert [warning.filename for warning in caught] == [__file__]


def test_no_way_to_deal_with_errors(encoder: VisionEncoder):
    for odd in ("ignore", None, True):
        with pytest.raises(InputError, match=f"on_error {odd!r} is not one of raise, skip"):
            encoder.encode(PICTURES, on_error=odd)  # type: ignore[call-overload]


@pytest.mark.parametrize("images", [None, 7, {}, iter([])], ids=repr)
def test_no_pictures(images: object, encoder: VisionEncoder):
    for run in (encoder.encode, encoder.pooled, encoder.sequence, encoder.taps):
        with pytest.raises(InputError, match=f"images is {type(images).__name__}; pass paths"):
            run(images)
