"""Tower specs: what surrounds a stack of blocks for one modality."""

from dataclasses import dataclass

from llm_compression.errors import SpecError
from llm_compression.spec.block import BlockSpec
from llm_compression.spec.codec import later


@dataclass(frozen=True)
class TextSpec:
    """A text tower: embedding tables, then ``num_layers`` blocks.

    ``position_offset`` is the row of the position table that the first token uses (RoBERTa
    starts at ``pad_token_id + 1``). ``type_vocab_size`` 0 means that no type table exists.
    ``pooler`` says whether the dense layer of BERT's pre-training stands in the file.
    ``embedding_norm`` stands before the blocks, ``final_norm`` after them. ``projection_dim`` is
    the width of the linear map behind the pooling, None where there is none.
    """

    vocab_size: int
    max_position_embeddings: int
    position_offset: int
    type_vocab_size: int
    num_layers: int
    pooler: bool
    block: BlockSpec
    embedding_norm: bool = later(default=True)
    final_norm: bool = later(default=False)
    projection_dim: int | None = later(default=None)

    def __post_init__(self) -> None:
        _check_sizes(self, "text", ("vocab_size", "max_position_embeddings", "num_layers"))
        if self.type_vocab_size < 0:
            raise SpecError(f"text.type_vocab_size is {self.type_vocab_size}; 0 means no table")
        if not 0 <= self.position_offset < self.max_position_embeddings:
            raise SpecError(
                f"text.position_offset {self.position_offset} leaves no position of "
                f"{self.max_position_embeddings} for a token"
            )

    @property
    def max_tokens(self) -> int:
        """The longest sequence that has positions, in tokens."""
        return self.max_position_embeddings - self.position_offset

    @property
    def dimension(self) -> int:
        """Width E of the embedding."""
        return self.projection_dim or self.block.hidden_size


@dataclass(frozen=True)
class VisionSpec:
    """A vision tower: square patches and a class token, ``num_layers`` blocks, norms around them.

    An image is ``num_channels`` x ``image_size`` x ``image_size``; a patch is ``patch_size``
    wide. ``projection_dim`` is the width of the linear map behind the pooling, None where there
    is none.
    """

    image_size: int
    patch_size: int
    num_channels: int
    num_layers: int
    projection_dim: int | None
    block: BlockSpec

    def __post_init__(self) -> None:
        _check_sizes(self, "vision", ("image_size", "patch_size", "num_channels", "num_layers"))
        if self.patch_size > self.image_size:
            raise SpecError(
                f"vision.patch_size {self.patch_size} is larger than vision.image_size "
                f"{self.image_size}"
            )

    @property
    def num_patches(self) -> int:
        """Patches of an image; what is left at its edges is not looked at."""
        return int((self.image_size // self.patch_size) ** 2)

    @property
    def dimension(self) -> int:
        """Width E of the embedding."""
        return self.projection_dim or self.block.hidden_size


@dataclass(frozen=True)
class AudioSpec:
    """An audio tower: two convolutions over mel frames, positions, blocks, a final norm.

    ``num_mel_bins`` M rows of frames come in; the second convolution leaves every other frame, of
    which ``max_source_positions`` have a position.
    """

    num_mel_bins: int
    max_source_positions: int
    num_layers: int
    block: BlockSpec

    def __post_init__(self) -> None:
        _check_sizes(self, "audio", ("num_mel_bins", "max_source_positions", "num_layers"))

    @property
    def dimension(self) -> int:
        """Width E of the embedding."""
        return self.block.hidden_size


@dataclass(frozen=True)
class AudioDecoderSpec:
    """What turns an audio tower's hidden states into text: kept on request, not run.

    Embedding tables, ``num_layers`` blocks that also attend to the audio tower's hidden states,
    a final norm; the token table is the output layer too.
    """

    vocab_size: int
    max_target_positions: int
    num_layers: int
    block: BlockSpec

    def __post_init__(self) -> None:
        _check_sizes(self, "audio_decoder", ("vocab_size", "max_target_positions", "num_layers"))


Tower = TextSpec | VisionSpec | AudioSpec


def _check_sizes(spec: Tower | AudioDecoderSpec, name: str, fields: tuple[str, ...]) -> None:
    sizes = {field: getattr(spec, field) for field in fields}
    if isinstance(spec, (TextSpec, VisionSpec)) and spec.projection_dim is not None:
        sizes["projection_dim"] = spec.projection_dim
    for field, size in sizes.items():
        if size < 1:
            raise SpecError(f"{name}.{field} is {size}; it must be at least 1")
