"""``--device`` of every command that runs a model."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Cli, vectors
from tests.clip_checkpoints import pictures
from tests.whisper_checkpoints import noise

COMMANDS = {
    "embed": "embed tiny_table red",
    "embed --images": "embed tiny_clip_table --images PICTURE",
    "embed --audio": "embed tiny_whisper_table --audio SOUND",
    "search": "search tiny_table red --in TEXTS",
    "classify": "classify tiny_clip_table PICTURE --labels cat dog",
    "validate": "validate tiny_table --reference tiny_bert",
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    import soundfile

    found = {"PICTURE": "a.png", "SOUND": "a.wav", "TEXTS": "a.txt"}
    paths = {name: tmp_path / file for name, file in found.items()}
    Image.fromarray(pictures(1)[0]).save(paths["PICTURE"])
    soundfile.write(paths["SOUND"], noise(0.5), 16000)
    paths["TEXTS"].write_text("red\nblue\n")
    return paths


@pytest.mark.parametrize("command", COMMANDS)
def test_a_gpu_that_is_not_here(
    command: str, files: dict[str, Path], cli: Cli, request: pytest.FixtureRequest
):
    words = [
        request.getfixturevalue(word) if word.startswith("tiny_") else files.get(word, word)
        for word in COMMANDS[command].split()
    ]
    said = cli(*words, "--device", "cuda:99").error(2)
    assert said.startswith("device is 'cuda:99', but ")
    assert cli(*words, "--device", "cpu").status == 0


def test_the_cpu_is_the_default(cli: Cli, tiny_table: Path):
    found = [
        vectors(cli("embed", tiny_table, "red", *device, "--format", "jsonl").out)
        for device in ([], ["--device", "cpu"])
    ]
    np.testing.assert_array_equal(*found)


def test_float16_wants_a_gpu(cli: Cli, tiny_table: Path):
    said = cli("embed", tiny_table, "red", "--compute-dtype", "float16").error(2)
    assert said == "compute_dtype 'float16' is for GPUs; on the CPU use 'bfloat16'"
