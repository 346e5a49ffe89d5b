"""The Whisper encoder under test, and speech for it: real ones where the data is, else made up."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.case import ASSETS, Case
from llm_compression import convert

RATE = 16000
SECONDS = (1, 5, 30)
_REAL = ASSETS / "whisper-base-encoder"
_SPEECH = ASSETS / "jfk.flac"


@dataclass(frozen=True)
class Sounds:
    """Samples at `RATE` of each length of `SECONDS`, and what they are."""

    samples: dict[int, np.ndarray]
    what: str


def whisper_case(case: Case) -> tuple[Case, str]:
    """whisper-base's encoder in the place of the run's model, and what its weights are."""
    real = _REAL.exists()
    checkpoint = _REAL if real else _random(case.folder / "whisper-base")
    table = convert(checkpoint, case.folder / "whisper.parquet").path
    what = "OpenAI's whisper-base encoder" if real else "whisper-base's encoder, random weights"
    return Case(checkpoint, table, case.folder, quick=case.quick), what


def sounds() -> Sounds:
    """Speech where it is there, repeated to 30 s; else noise."""
    longest = max(SECONDS) * RATE
    if _SPEECH.exists():
        import librosa

        speech, _ = librosa.load(_SPEECH, sr=RATE)
        whole, what = np.resize(speech, longest), "speech (jfk.flac, repeated)"
    else:
        whole = np.random.default_rng(0).normal(0, 0.1, longest).astype(np.float32)
        what = "noise"
    return Sounds({s: whole[: s * RATE] for s in SECONDS}, what)


def _random(folder: Path) -> Path:
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048
    )
    encoder = WhisperEncoder(config)
    for parameter in encoder.parameters():
        parameter.data = parameter.data.half()
    encoder.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)  # type: ignore[no-untyped-call]
    return folder
