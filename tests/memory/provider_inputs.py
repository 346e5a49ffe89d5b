"""Inputs of every kind that a provider embeds."""

from PIL import Image

from tests.clip_checkpoints import pictures
from tests.whisper_checkpoints import RATE, noise

TEXTS = ["a photo of a cat", "the dog runs", "red ship"]
IMAGES = [Image.fromarray(picture) for picture in pictures(3)]
SOUNDS = [noise(1.5), noise(2.5, seed=1)]
PAIRS = [("text", "text"), ("vision", "image"), ("audio", "audio"), ("clip", "text"),
         ("clip", "image")]  # fmt: skip
INPUTS = {
    "text": TEXTS,
    "image": IMAGES,
    "audio": [{"array": sound, "sampling_rate": RATE} for sound in SOUNDS],
}
