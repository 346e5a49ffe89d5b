"""The reference models as modules, from which every other runtime is exported."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.runtimes.works import MASKED, MINILM, VIT, WHISPER


def module(model: str, folder: Path) -> torch.nn.Module:
    """The checkpoint ``folder/MODEL`` as transformers runs it, from input to embedding."""
    kinds = {MINILM: _Texts, VIT: _Pictures, WHISPER: _Sounds}
    return kinds[model](folder / model).eval()


def export(graph: str, folder: Path) -> None:
    """``folder/GRAPH.onnx`` of its model, and ``GRAPH-int8.onnx`` with weights in int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model, path = graph.removesuffix(MASKED), folder / f"{graph}.onnx"
    ids = torch.full((2, 16), 2000)
    examples = {
        MINILM: (ids,),
        MINILM + MASKED: (ids, torch.ones_like(ids)),
        VIT: (torch.randn(2, 3, 224, 224),),
        WHISPER: (torch.randn(2, 80, 3000),),
    }[graph]
    names = ["x", "mask"][: len(examples)]
    axes = {0: "batch", 1: "tokens"} if model == MINILM else {0: "batch"}
    torch.onnx.export(
        module(model, folder),
        examples,
        path,
        input_names=names,
        dynamic_axes=dict.fromkeys(names, axes),
        dynamo=False,  # the other exporter wants another package
    )
    quantize_dynamic(path, folder / f"{graph}-int8.onnx", weight_type=QuantType.QInt8)


class _Texts(torch.nn.Module):
    """Mean pooling over the tokens of a mask, or over all, to unit length."""

    def __init__(self, checkpoint: Path) -> None:
        from transformers import AutoModel

        super().__init__()
        self.model = AutoModel.from_pretrained(checkpoint)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T) -> (B, E)."""
        hidden = self.model(input_ids=x, attention_mask=mask).last_hidden_state
        if mask is None:
            return F.normalize(hidden.mean(1), dim=-1)
        real = mask.unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * real).sum(1) / real.sum(1), dim=-1)


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
