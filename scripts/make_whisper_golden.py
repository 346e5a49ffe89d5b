"""Writes the golden Whisper: a tiny weight table, and what transformers computes with its weights.

It is kept for ever, so that a test without transformers proves the architecture. The script
therefore never replaces it. Run it from the project's folder: python -m scripts.make_whisper_golden
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_compression import convert
from tests.whisper_checkpoints import RATE, tone, write_whisper

FOLDER = Path(__file__).parents[1] / "tests" / "parity" / "golden"
WINDOW = 2 * RATE
EVERY_FRAME, EVERY_POSITION = 13, 9  # of which the answers hold one
STD = 0.5  # large, so that every part of the architecture shows in the embeddings


def sounds() -> dict[str, np.ndarray]:
    """Sounds by formulas, so that they are the same for ever; the last is two windows long."""
    time = np.arange(3 * RATE) / RATE
    sweep = np.sin(2 * np.pi * (100 + 900 * time) * time) * np.sin(np.pi * time / 3)
    clicks = (np.arange(WINDOW) % 1700 == 0).astype(np.float32)
    return {
        "tone": tone(0.6),
        "sample": np.full(1, 0.5, np.float32),
        "silence": np.zeros(RATE // 2, np.float32),
        "clicks": clicks,
        "sweep": (0.3 * sweep).astype(np.float32),
    }


def answers(checkpoint: Path) -> dict[str, object]:
    """Embeddings (n, E) of `sounds`, and some of the frames and hidden states of the clicks."""
    import transformers

    kind: Any = transformers.WhisperModel
    encoder = kind.from_pretrained(checkpoint, local_files_only=True).encoder.float().eval()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(checkpoint)
    found = {name: _heard(encoder, extractor, sound) for name, sound in sounds().items()}
    frames, states, _ = found["clicks"]
    return {
        "transformers": transformers.__version__,
        "embeddings": {name: heard[2].tolist() for name, heard in found.items()},
        "frames": frames[:, ::EVERY_FRAME].tolist(),
        "states": states[::EVERY_POSITION].tolist(),
    }


def _heard(
    encoder: Any, extractor: Any, sound: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames and states of the last window, and the mean over what hears the sound in all."""
    total, count = np.zeros(encoder.config.d_model), 0
    for start in range(0, len(sound), WINDOW):
        part = sound[start : start + WINDOW]
        whole = np.pad(part, (0, WINDOW - len(part)))
        frames = extractor._np_extract_fbank_features(whole[None], "cpu")[0]
        with torch.no_grad():
            states = encoder(torch.from_numpy(frames)[None].float()).last_hidden_state[0].numpy()
        heard = -(-len(part) // (2 * extractor.hop_length))
        total, count = total + states[:heard].astype(np.float64).sum(0), count + heard
    return frames, states, total / count


def write_golden(folder: Path) -> Path:
    """``whisper.parquet`` and ``whisper.json``."""
    with tempfile.TemporaryDirectory() as name:
        checkpoint = Path(name) / "golden-whisper"
        write_whisper(checkpoint, dtype=torch.float16, std=STD)
        path = convert(checkpoint, folder / "whisper.parquet").path
        (folder / "whisper.json").write_text(json.dumps(answers(checkpoint), indent=1) + "\n")
    return path


def main() -> None:
    """Write the two files where none stand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    if (folder / "whisper.parquet").exists():
        parser.error(f"{folder} has one; a golden file is kept for ever")
    folder.mkdir(parents=True, exist_ok=True)
    path = write_golden(folder)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
