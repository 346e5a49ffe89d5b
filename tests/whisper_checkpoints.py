"""Tiny random Whisper checkpoints of every architecture, and sounds for them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import write_json

WhisperFactory = Callable[..., Path]
RATE = 16000
# the prefix of the encoder's tensors in each
ARCHITECTURES = {
    "WhisperForConditionalGeneration": "model.",
    "WhisperModel": "",
    "WhisperForAudioClassification": "",
}


@pytest.fixture(scope="session")
def make_whisper(tmp_path_factory: pytest.TempPathFactory) -> WhisperFactory:
    """Writes a tiny random Whisper checkpoint and returns its folder."""
    return lambda *args, **kwargs: write_whisper(
        tmp_path_factory.mktemp("whisper"), *args, **kwargs
    )


@pytest.fixture(scope="session")
def tiny_whisper(make_whisper: WhisperFactory) -> Path:
    """A random Whisper of two layers, 16 wide, in windows of 2 s, with its decoder."""
    return make_whisper()


@pytest.fixture(scope="session")
def tiny_whisper_table(tiny_whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder of `tiny_whisper` as a weight table."""
    from llm_compression import convert

    return convert(tiny_whisper, tmp_path_factory.mktemp("table") / "whisper.parquet").path


@pytest.fixture(scope="session")
def long_whisper_table(
    make_whisper: WhisperFactory, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The encoder of a random Whisper in windows of 30 s, 1,500 positions, as a weight table."""
    from llm_compression import convert

    folder = tmp_path_factory.mktemp("table")
    return convert(make_whisper(seconds=30), folder / "long.parquet").path


def write_whisper(
    folder: Path,
    architecture: str = "WhisperForConditionalGeneration",
    *,
    seconds: int = 2,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    std: float = 0.15,
    preprocessing: bool = True,
    **config: object,
) -> Path:
    """A random model of the real transformers class, with its preprocessing.

    A window is ``seconds`` long; ``config`` changes values of the config.
    """
    import transformers

    torch.manual_seed(seed)
    values = {**sizes(seconds), **config}
    made = transformers.WhisperConfig(**values)
    model = getattr(transformers, architecture)(made)
    for name, parameter in model.named_parameters():
        # fresh biases are zero and norms one: make all matter; positions stay as they are made
        if not name.endswith("encoder.embed_positions.weight"):
            torch.nn.init.normal_(parameter, std=std)
    model.to(dtype).save_pretrained(folder)
    if preprocessing:
        write_json(folder / "preprocessor_config.json", front_end(seconds, int(made.num_mel_bins)))
    return folder


def sizes(seconds: int) -> dict[str, object]:
    """Values of a small config, whose tokens fit its small vocabulary."""
    return {
        "num_mel_bins": 8, "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 4,
        "encoder_ffn_dim": 32, "decoder_layers": 2, "decoder_attention_heads": 2,
        "decoder_ffn_dim": 24, "vocab_size": 40, "max_source_positions": 50 * seconds,
        "max_target_positions": 12, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 3, "begin_suppress_tokens": None,
    }  # fmt: skip


def front_end(seconds: int, mels: int) -> dict[str, object]:
    """What transformers writes of a feature extractor."""
    return {
        "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": mels,
        "sampling_rate": RATE, "n_fft": 400, "hop_length": 160, "chunk_length": seconds,
        "n_samples": RATE * seconds, "nb_max_frames": 100 * seconds, "padding_side": "right",
        "padding_value": 0.0, "return_attention_mask": False,
    }  # fmt: skip


def noise(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Noise that swells and ebbs, float32."""
    count = max(1, round(seconds * rate))
    swell = np.sin(np.linspace(0.2, 3, count))
    return (np.random.default_rng(seed).normal(0, 0.1, count) * swell).astype(np.float32)


def tone(seconds: float, hertz: float = 440.0, rate: int = RATE) -> np.ndarray:
    """A pure tone, float32."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )
