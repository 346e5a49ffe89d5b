"""The commands on real speech with the real whisper-base: which of these clips is like this one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from llm_compression import convert
from llm_compression.memory.vector_table import VectorTable
from tests.cli.conftest import Cli, rows

SPEAKERS = ("george", "jackson", "nicolas", "yweweler")


@pytest.fixture(scope="session")
def whisper(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real encoder as a weight table."""
    target = tmp_path_factory.mktemp("real") / "whisper.parquet"
    return convert(assets / "whisper-base-encoder", target).path


def digits(assets: Path, folder: Path, count: int = 10, speakers: int = 4) -> Path:
    """One take of each digit by each speaker."""
    folder.mkdir()
    for digit in range(count):
        for speaker in SPEAKERS[:speakers]:
            name = f"{digit}_{speaker}_0.wav"
            shutil.copy(assets / "fsdd" / "recordings" / name, folder / name)
    return folder


def test_the_same_digit_comes_first(cli: Cli, whisper: Path, assets: Path, tmp_path: Path):
    """In another take, among 40 clips, in the fast mode, from vectors at rest."""
    folder, target = digits(assets, tmp_path / "digits"), tmp_path / "vectors.parquet"
    outcome = cli("embed", whisper, "--audio", folder, "--audio-mode", "fast", "-o", target)
    assert outcome.out == f"wrote {target}: 40 vectors of 512 float32\n"
    for query in ("0_george_5", "3_yweweler_5", "7_jackson_5", "9_nicolas_5"):
        sound = assets / "fsdd" / "recordings" / f"{query}.wav"
        outcome = cli("search", whisper, sound, "--in", target, "--top-k", 1, "--json")
        (best,) = rows(outcome.out)
        assert Path(best["audio"]).name.startswith(query[:2])
        assert 0.9 < best["score"] < 0.999


def test_the_modes_find_the_same(cli: Cli, whisper: Path, assets: Path, tmp_path: Path):
    folder = digits(assets, tmp_path / "digits", count=1, speakers=2)
    found = {}
    for mode in ("exact", "fast"):
        target = tmp_path / f"{mode}.parquet"
        cli("embed", whisper, "--audio", folder, "--audio-mode", mode, "--normalize", "-o", target)
        found[mode] = VectorTable.read(target).vectors
    cosines = found["exact"] @ found["fast"].T
    np.testing.assert_array_equal(cosines.argmax(axis=1), [0, 1])
    assert cosines.diagonal().min() > 0.95
    assert cosines.diagonal().max() < 0.99999


def test_a_part_of_a_speech_is_found_where_it_is(
    cli: Cli, whisper: Path, assets: Path, tmp_path: Path
):
    speech, part = assets / "jfk.flac", tmp_path / "part.wav"
    samples, rate = soundfile.read(speech)
    soundfile.write(part, samples[6 * rate : 10 * rate], rate)
    options = ["--window", 4, "--overlap", 1, "--audio-mode", "fast", "--json"]
    found = rows(cli("search", whisper, part, "--audio", speech, *options).out)
    times = [(row["start"], row["stop"]) for row in found]
    assert times[0] == (6, 10)
    assert sorted(times) == [(0, 4), (3, 7), (6, 10), (9, 11)]
    assert found[0]["score"] > 0.999 > found[1]["score"]
