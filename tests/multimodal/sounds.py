"""Sounds for tests, in every kind of file and array, and what transformers makes of them."""

import io
import math
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import torch

from llm_compression.multimodal.audio.input import as_sounds, name_of, open_sound
from llm_compression.multimodal.audio.processor import resampled
from llm_compression.spec.sound import SoundSpec
from tests.whisper_checkpoints import RATE, noise, tone

SHORT = SoundSpec(sampling_rate=RATE, n_fft=400, hop_length=160, chunk_length=2)
LONG = SoundSpec(sampling_rate=RATE, n_fft=400, hop_length=160, chunk_length=30)
SAMPLES = 0.4 * tone(1.5) + 0.2 * noise(1.5)
# for each file: its format and its bits, and how far a sample may be off
FORMATS = {
    "wav 8": ("WAV", "PCM_U8", 2**-7),
    "wav 16": ("WAV", "PCM_16", 2**-15),
    "wav 24": ("WAV", "PCM_24", 2**-23),
    "wav 32": ("WAV", "PCM_32", 2**-24),
    "wav float": ("WAV", "FLOAT", 0),
    "wav double": ("WAV", "DOUBLE", 0),
    "wavex": ("WAVEX", "PCM_16", 2**-15),
    "flac 16": ("FLAC", "PCM_16", 2**-15),
    "flac 24": ("FLAC", "PCM_24", 2**-23),
    "aiff 16": ("AIFF", "PCM_16", 2**-15),
    "aiff float": ("AIFF", "FLOAT", 0),
    "au": ("AU", "PCM_16", 2**-15),
    "caf": ("CAF", "PCM_16", 2**-15),
    "vorbis": ("OGG", "VORBIS", 0.15),
    "opus": ("OGG", "OPUS", 0.15),
    "mp3": ("MP3", "MPEG_LAYER_III", 0.15),
}


def encoded(samples: np.ndarray, kind: str = "wav 16", rate: int = RATE) -> bytes:
    """A file of one of `FORMATS`."""
    form, bits, _ = FORMATS[kind]
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=bits)
    return file.getvalue()


@cache
def recording(kind: str) -> bytes:
    """A file of `SAMPLES`."""
    return encoded(SAMPLES, kind)


def read(source: object, rate: int | None = None, name: str = "sound 7") -> np.ndarray:
    """All samples of a sound."""
    return np.concatenate([*open_sound(source, name, rate).blocks] or [np.empty(0, np.float32)])


def at_16_khz(source: object, rate: int | None = None) -> np.ndarray:
    """All samples of a sound as the tower takes them."""
    blocks = resampled(open_sound(source, "sound 7", rate), RATE)
    return np.concatenate([*blocks])


def read_first(source: object, rate: int | None = None) -> np.ndarray:
    """All samples of the only sound in an encoder's input."""
    sounds, _ = as_sounds(source)
    return read(sounds[0], rate, name_of(sounds[0], 0))


def reference(checkpoint: Path, samples: np.ndarray) -> np.ndarray:
    """Hidden states (P, D) at the positions that hear a sound of one window, by transformers."""
    import transformers

    extractor = transformers.WhisperFeatureExtractor.from_pretrained(checkpoint)
    encoder = transformers.WhisperModel.from_pretrained(checkpoint).encoder.eval()
    with torch.inference_mode():
        hidden = encoder(torch.from_numpy(spectrogram(extractor, samples))[None])
    states: np.ndarray = hidden.last_hidden_state[0, : math.ceil(len(samples) / 320)].numpy()
    return states


def spectrogram(extractor: object, samples: np.ndarray) -> np.ndarray:
    """(M, S) of the window by numpy, the reference's exact way."""
    whole = np.zeros(extractor.n_samples, np.float32)  # type: ignore[attr-defined]
    whole[: len(samples)] = samples
    found: np.ndarray = extractor._np_extract_fbank_features(whole[None], "cpu")[0]  # type: ignore[attr-defined]
    return found
