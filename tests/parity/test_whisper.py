"""The real whisper-base encoder on real speech: against transformers, and by what it hears."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from llm_compression import convert
from llm_compression.metrics.similarity import unit_rows
from llm_compression.multimodal.audio import model as audio_model
from llm_compression.multimodal.audio.encoder import AudioEncoder
from llm_compression.multimodal.audio.tower import AudioTower, bind_audio_tower
from llm_compression.spec.tensors import expected_tensors
from llm_compression.validation.validate import validate
from llm_compression.weights.reader import WeightTable
from tests.conversion.checkpoints import assert_same_bits, read_tensors
from tests.parity.test_tiny_whisper import WRONG

pytestmark = pytest.mark.assets
SPEAKERS = ("george", "jackson", "nicolas", "yweweler")
TESTED, KNOWN = range(5), range(5, 15)  # recordings; the data set itself keeps 0..4 for tests
Embeddings = Callable[[str, range], np.ndarray]
# of what reaches 24 at most; between the blocks states reach 500
SMALL = {"frames", "embeddings", "pooled", "embedding"}


@pytest.fixture(scope="module")
def checkpoint(assets: Path) -> Path:
    return assets / "whisper-base-encoder"


@pytest.fixture(scope="module")
def table(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(checkpoint, tmp_path_factory.mktemp("real") / "whisper.parquet").path


def recordings(assets: Path, numbers: range) -> list[Path]:
    """Every digit by every speaker, as often as there are numbers."""
    folder = assets / "fsdd" / "recordings"
    names = (f"{digit}_{who}_{n}" for digit in range(10) for who in SPEAKERS for n in numbers)
    return [folder / f"{name}.wav" for name in names]


def labels(numbers: range) -> tuple[np.ndarray, np.ndarray]:
    """Digit and speaker of each of `recordings`."""
    digits, speakers, _ = np.meshgrid(range(10), range(len(SPEAKERS)), numbers, indexing="ij")
    return digits.ravel(), speakers.ravel()


@pytest.fixture(scope="module")
def embeddings(assets: Path, table: Path) -> Embeddings:
    """Unit embeddings of `recordings` in a mode, computed once."""

    @cache
    def found(mode: str, numbers: range) -> np.ndarray:
        encoder = AudioEncoder(table, mode=mode)
        return unit_rows(encoder.encode(recordings(assets, numbers), batch_size=4))

    return found


def nearest(queries: np.ndarray, index: np.ndarray) -> np.ndarray:
    return (queries @ index.T).argmax(axis=1)


def test_the_encoder_converts(checkpoint: Path, tmp_path: Path) -> None:
    report = convert(checkpoint, tmp_path / "model.parquet")
    assert_same_bits(report.path, read_tensors(checkpoint))
    assert (report.tensors, report.parameters) == (97, 20_590_592)
    assert (report.dropped, report.notes) == ((), ())
    manifest = WeightTable(report.path).manifest
    assert [entry.name for entry in manifest.tensors] == list(expected_tensors(manifest.spec))
    assert {entry.dtype for entry in manifest.tensors} == {"float16"}


def test_known_values_on_speech(table: Path, assets: Path) -> None:
    states = AudioEncoder(table).taps([assets / "jfk.flac"])["final_norm"][0]
    assert states.shape == (1500, 512)
    assert states.std() == pytest.approx(1.4626, abs=5e-5)
    assert (states.min(), states.max()) == pytest.approx((-24.25, 17.58), abs=5e-3)


@pytest.mark.parametrize("count", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_every_tap_on_speech_and_digits(
    count: int, checkpoint: Path, table: Path, assets: Path
) -> None:
    folder = assets / "fsdd" / "recordings"
    digits = [folder / f"{digit}_{SPEAKERS[digit % 4]}_0.wav" for digit in range(count)]
    report = validate(table, checkpoint, sounds=[assets / "jfk.flac", *digits])
    assert report.passed, report.to_table()
    assert len(report.taps) == 1 + 1 + 6 * 2 + 3
    assert report.sounds == 1 + count
    taps = {tap.name: tap for tap in report.taps}
    assert max(taps[name].absolute for name in SMALL) <= 1e-3
    # some states on their way to 500 grow tenfold in a block, and their last bits with them:
    # transformers itself moves by up to 1.3e-3 when the last bits of the frames do
    last = taps["final_norm"]
    noise = last.absolute * (last.noise or 0) / last.relative
    assert last.absolute <= max(1e-3, 4 * noise)
    assert min(taps[name].cosine_min for name in ("final_norm", "embedding")) >= 0.999999


@pytest.mark.slow
@pytest.mark.parametrize("compute_dtype", ["float32", "bfloat16"])
def test_every_tap_on_the_samples(compute_dtype: str, checkpoint: Path, table: Path) -> None:
    report = validate(table, checkpoint, compute_dtype=compute_dtype)
    assert report.passed, report.to_table()


@pytest.mark.parametrize("name", ["tanh", "no query bias", "positions one off"])
def test_a_wrong_tower_fails_on_real_weights(
    name: str, checkpoint: Path, table: Path, assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change: Callable[[AudioTower], AudioTower] = WRONG[name][0]
    monkeypatch.setattr(audio_model, "bind_audio_tower", lambda *a: change(bind_audio_tower(*a)))
    report = validate(table, checkpoint, sounds=recordings(assets, range(1))[:1])
    failed = [tap.name for tap in report.taps if not tap.passed]
    assert failed[0] == WRONG[name][1]
    assert "embedding" in failed


def test_bfloat16_has_its_own_row(checkpoint: Path, table: Path, assets: Path) -> None:
    sounds = recordings(assets, range(1))[:2]
    report = validate(table, checkpoint, sounds=sounds, compute_dtype="bfloat16")
    assert report.taps[-1].cosine_min >= 0.9995
    assert report.passed, report.to_table()


@pytest.mark.parametrize("mode", ["fast", pytest.param("exact", marks=pytest.mark.slow)])
def test_digits_of_speakers_that_are_known(mode: str, embeddings: Embeddings) -> None:
    """The nearest of 400 recordings is of the same digit, for each of 200 held out."""
    asked, _ = labels(TESTED)
    known, _ = labels(KNOWN)
    found = known[nearest(embeddings(mode, TESTED), embeddings(mode, KNOWN))]
    accuracy = float((found == asked).mean())
    assert (len(asked), len(known)) == (200, 400)
    assert accuracy == 1.0


@pytest.mark.parametrize("mode", ["fast", pytest.param("exact", marks=pytest.mark.slow)])
def test_digits_of_a_speaker_that_is_not_known(mode: str, embeddings: Embeddings) -> None:
    """Each speaker's among those of the three others."""
    digits, speakers = labels(KNOWN)
    vectors = embeddings(mode, KNOWN)
    accuracy = {}
    for index, name in enumerate(SPEAKERS):
        own = speakers == index
        found = digits[~own][nearest(vectors[own], vectors[~own])]
        accuracy[name] = float((found == digits[own]).mean())
    assert np.mean(list(accuracy.values())) > 0.9, accuracy
    assert min(accuracy.values()) > 0.8, accuracy


@pytest.mark.slow
def test_digits_across_the_modes(embeddings: Embeddings) -> None:
    asked, _ = labels(TESTED)
    known, _ = labels(KNOWN)
    for own, other in (("fast", "exact"), ("exact", "fast")):
        found = known[nearest(embeddings(own, TESTED), embeddings(other, KNOWN))]
        assert (found == asked).mean() > 0.98
