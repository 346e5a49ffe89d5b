"""The example remembers across processes, and is as short as it claims."""

import ast
import subprocess
import sys
from pathlib import Path

import soundfile
from PIL import Image

from tests.clip_checkpoints import pictures
from tests.whisper_checkpoints import RATE, noise

EXAMPLE = Path(__file__).parents[2] / "examples" / "memory.py"


def run(*arguments: object) -> list[list[str]]:
    """What a process of the example prints: kind, score and source of each match."""
    command = [sys.executable, str(EXAMPLE), *map(str, arguments)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split(maxsplit=2) for line in output.splitlines()]


def test_a_second_run_finds_what_the_first_one_stored(
    tmp_path: Path, tiny_table: Path, tiny_clip_table: Path, tiny_whisper_table: Path
) -> None:
    image, sound = tmp_path / "cat.png", tmp_path / "bark.wav"
    Image.fromarray(pictures(1)[0]).save(image)
    soundfile.write(sound, noise(1.5), RATE)
    models = ["--text", tiny_table, "--clip", tiny_clip_table, "--audio", tiny_whisper_table]
    inputs = ["--notes", "a cat", "the dog runs", "a cat"]
    inputs += ["--images", image, image, "--sounds", sound, sound]
    first = run(tmp_path / "memory", *models, *inputs)
    assert run(tmp_path / "memory", *models, *inputs) == first
    again = run(tmp_path / "memory", *models, "--like", sound)
    assert again[: len(first)] == first
    assert first[0] == ["note", "1.000", "a cat"]
    assert [kind for kind, _, _ in again] == ["note", "note", "image", "sound"]
    assert [source for _, _, source in again[2:]] == [str(image), str(sound)]
    assert again[-1][1] == "1.000"


def test_it_has_about_thirty_lines() -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(lines) <= 32
    assert ast.get_docstring(ast.parse("\n".join(lines)))
