"""The keyword arguments of `ArrowEngine`'s encode methods, as types."""

from typing import TypedDict

from llm_compression.metrics.quantization import EmbeddingRanges


class OutputOptions(TypedDict, total=False):
    """The keyword-only arguments of `ArrowEngine.encode`, which says what each does."""

    show_progress_bar: bool | None
    precision: str
    normalize_embeddings: bool | None
    truncate_dim: int | None
    ranges: EmbeddingRanges | None
    truncation: str | None


class EncodeOptions(OutputOptions, total=False):
    """All arguments of `ArrowEngine.encode` but the inputs."""

    prompt_name: str | None
    prompt: str | None
    batch_size: int
