"""Writes the golden CLIP: a tiny weight table, and what transformers computes with its weights.

It is kept for ever, so that a test without transformers proves the architecture. The script
therefore never replaces it. Run it from the project's folder: python -m scripts.make_clip_golden
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
import transformers

from llm_compression import convert
from tests.clip_checkpoints import END, load_reference, patterns, reference_processor, write_clip

FOLDER = Path(__file__).parents[1] / "tests" / "parity" / "golden"
TEXTS = [
    "a photo of a cat",
    "The DOG's truck runs!",
    "red",
    "",
    f"the cat {END} sits",  # which of two end tokens counts
    "a blue ship sits on the red truck " * 4,  # longer than there are positions
]
SIZES = {"hidden_size": 16, "intermediate_size": 40}
STD = 0.5  # large, so that every part of the architecture shows in the embeddings


def answers(checkpoint: Path) -> dict[str, object]:
    """Unit embeddings (n, E) of `TEXTS` and `patterns`, and logits (texts, pictures)."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=16, return_tensors="pt")
    pixels = reference_processor(checkpoint)(patterns(), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        found = load_reference(checkpoint)(pixel_values=pixels, **tokens)
    return {
        "transformers": transformers.__version__,
        "texts": TEXTS,
        "text": found.text_embeds.tolist(),
        "image": found.image_embeds.tolist(),
        "logits": found.logits_per_text.tolist(),
    }


def write_golden(folder: Path) -> Path:
    """``clip.parquet`` and ``clip.json``."""
    with tempfile.TemporaryDirectory() as name:
        checkpoint = Path(name) / "golden-clip"
        write_clip(checkpoint, dtype=torch.float16, std=STD, text=SIZES, vision=SIZES)
        path = convert(checkpoint, folder / "clip.parquet").path
        (folder / "clip.json").write_text(json.dumps(answers(checkpoint), indent=1) + "\n")
    return path


def main() -> None:
    """Write the two files where none stand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    if (folder / "clip.parquet").exists():
        parser.error(f"{folder} has one; a golden file is kept for ever")
    folder.mkdir(parents=True, exist_ok=True)
    path = write_golden(folder)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
