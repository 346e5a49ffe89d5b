"""The reference models as modules of one input, from which every other runtime is exported."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.runtimes.works import MINILM, VIT, WHISPER


def module(model: str, folder: Path) -> torch.nn.Module:
    """The checkpoint ``folder/MODEL`` as transformers runs it, from input to embedding."""
    kinds = {MINILM: _Texts, VIT: _Pictures, WHISPER: _Sounds}
    return kinds[model](folder / model).eval()


def export(model: str, folder: Path) -> None:
    """``folder/MODEL.onnx``, and ``MODEL-int8.onnx`` with weights in int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    network, path = module(model, folder), folder / f"{model}.onnx"
    example = {
        MINILM: torch.full((2, 16), 2000),
        VIT: torch.randn(2, 3, 224, 224),
        WHISPER: torch.randn(2, 80, 3000),
    }[model]
    axes = {0: "batch", 1: "tokens"} if model == MINILM else {0: "batch"}
    torch.onnx.export(
        network,
        (example,),
        path,
        input_names=["x"],
        dynamic_axes={"x": axes},
        dynamo=False,  # the other exporter wants another package
    )
    quantize_dynamic(path, folder / f"{model}-int8.onnx", weight_type=QuantType.QInt8)


class _Texts(torch.nn.Module):
    """Mean pooling over texts of one length, to unit length."""

    def __init__(self, checkpoint: Path) -> None:
        from transformers import AutoModel

        super().__init__()
        self.model = AutoModel.from_pretrained(checkpoint)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T) -> (B, E)."""
        return F.normalize(self.model(input_ids=x).last_hidden_state.mean(1), dim=-1)


class _Pictures(torch.nn.Module):
    """The projected class token."""

    def __init__(self, checkpoint: Path) -> None:
        from transformers import CLIPVisionModelWithProjection

        super().__init__()
        self.model = CLIPVisionModelWithProjection.from_pretrained(checkpoint)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) -> (B, E)."""
        embedding: torch.Tensor = self.model(pixel_values=x).image_embeds
        return embedding


class _Sounds(torch.nn.Module):
    """The mean over all positions."""

    def __init__(self, checkpoint: Path) -> None:
        from safetensors.torch import load_file
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        super().__init__()
        self.model: Any = WhisperEncoder(WhisperConfig.from_pretrained(checkpoint))
        stored = load_file(checkpoint / "model.safetensors")
        named = {name.removeprefix("model.encoder."): t.float() for name, t in stored.items()}
        self.model.load_state_dict(named)  # strict: from_pretrained would make up what is missing

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, M, S) -> (B, D)."""
        embedding: torch.Tensor = self.model(x).last_hidden_state.mean(1)
        return embedding


def frames(seconds: np.ndarray, whisper: Path) -> np.ndarray:
    """The mel frames (1, 80, 3000) of samples at 16 kHz."""
    from llm_compression import AudioEncoder

    processor = AudioEncoder(whisper).processor
    window = next(processor.windows(seconds, "speech", 16000))
    return window.frames[None]
