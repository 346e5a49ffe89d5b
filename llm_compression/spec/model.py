"""ModelSpec: all that must be known to run a model, and nothing left to guess."""

from dataclasses import dataclass, field
from enum import Enum

from llm_compression.errors import SpecError
from llm_compression.spec.codec import later
from llm_compression.spec.image import ImageSpec
from llm_compression.spec.sound import SoundSpec
from llm_compression.spec.towers import AudioDecoderSpec, AudioSpec, TextSpec, Tower, VisionSpec


class Family(Enum):
    """A group of checkpoints that one conversion table and one set of towers serve."""

    BERT = "bert"
    CLIP = "clip"
    WHISPER = "whisper"


class Pooling(Enum):
    """How (B, T, D) becomes (B, D); the first four values are those of sentence-transformers.

    ``eos`` is the state of the first ``eos_token_id``, ``max_id`` that of the highest token id,
    as in CLIP checkpoints whose config has the wrong ``eos_token_id`` 2.
    """

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"
    LAST_TOKEN = "lasttoken"  # noqa: S105  no password
    EOS = "eos"
    MAX_ID = "max_id"


class Similarity(Enum):
    """The score that a model's embeddings were trained for."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"


@dataclass(frozen=True)
class TokenizerSpec:
    """What a run needs beyond ``tokenizer.json``."""

    pad_token_id: int
    lowercase: bool  # sentence-transformers' own lowercasing, before the tokenizer
    truncation_side: str
    eos_token_id: int | None = later(default=None)

    def __post_init__(self) -> None:
        if self.truncation_side not in ("left", "right"):
            raise SpecError(
                f"tokenizer.truncation_side is {self.truncation_side!r}; use 'left' or 'right'"
            )


@dataclass(frozen=True)
class EmbeddingSpec:
    """From hidden states to the embedding that a user sees."""

    pooling: Pooling
    normalize: bool
    max_seq_length: int
    similarity: Similarity
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None

    def __post_init__(self) -> None:
        if self.default_prompt_name is not None and self.default_prompt_name not in self.prompts:
            raise SpecError(
                f"embedding.default_prompt_name {self.default_prompt_name!r} is not among the "
                f"prompts {sorted(self.prompts)}"
            )


@dataclass(frozen=True)
class ModelSpec:
    """One model: its towers, each with what prepares its inputs."""

    family: Family
    text: TextSpec | None
    tokenizer: TokenizerSpec | None
    embedding: EmbeddingSpec | None
    vision: VisionSpec | None = later(default=None)
    image: ImageSpec | None = later(default=None)
    audio: AudioSpec | None = later(default=None)
    sound: SoundSpec | None = later(default=None)
    audio_decoder: AudioDecoderSpec | None = later(default=None)

    def __post_init__(self) -> None:
        if not self.towers:
            raise SpecError("the model has no tower")
        _check_text(self.text, self.tokenizer, self.embedding)
        _check_vision(self.vision, self.image)
        _check_audio(self.audio, self.sound, self.audio_decoder)
        if self.text and self.vision and self.text.dimension != self.vision.dimension:
            raise SpecError(
                f"text embeddings are {self.text.dimension} wide and image embeddings "
                f"{self.vision.dimension}; they must share one space"
            )

    @property
    def dimension(self) -> int:
        """Width E of the embedding."""
        return self.towers[0].dimension

    @property
    def towers(self) -> tuple[Tower, ...]:
        """The towers that the model has."""
        return tuple(tower for tower in (self.text, self.vision, self.audio) if tower)


def _check_text(
    text: TextSpec | None, tokenizer: TokenizerSpec | None, embedding: EmbeddingSpec | None
) -> None:
    if not text or not tokenizer or not embedding:
        if text or tokenizer or embedding:
            raise SpecError("a text tower, tokenizer and embedding come together or not at all")
        return
    for name in ("pad_token_id", "eos_token_id"):
        token = getattr(tokenizer, name)
        if token is not None and not 0 <= token < text.vocab_size:
            raise SpecError(
                f"tokenizer.{name} {token} is outside the vocabulary of {text.vocab_size} tokens"
            )
    if embedding.pooling is Pooling.EOS and tokenizer.eos_token_id is None:
        raise SpecError("pooling 'eos' needs tokenizer.eos_token_id")
    if not 1 <= embedding.max_seq_length <= text.max_tokens:
        raise SpecError(
            f"embedding.max_seq_length {embedding.max_seq_length} is outside "
            f"1..{text.max_tokens}, the positions that the model has"
        )


def _check_vision(vision: VisionSpec | None, image: ImageSpec | None) -> None:
    if not vision or not image:
        if vision or image:
            raise SpecError("a vision tower and image, its preprocessing, come together")
        return
    if image.output != (vision.image_size, vision.image_size):
        raise SpecError(
            f"image gives {image.output}, the vision tower takes images of "
            f"{vision.image_size} x {vision.image_size}"
        )
    if len(image.mean) != vision.num_channels:
        raise SpecError(
            f"image.mean has {len(image.mean)} values for {vision.num_channels} channels"
        )


def _check_audio(
    audio: AudioSpec | None, sound: SoundSpec | None, decoder: AudioDecoderSpec | None
) -> None:
    if not audio or not sound:
        if audio or sound or decoder:
            raise SpecError("an audio tower and sound, its preprocessing, come together")
        return
    if decoder and decoder.block.hidden_size != audio.block.hidden_size:
        raise SpecError(
            f"audio_decoder is {decoder.block.hidden_size} wide and audio "
            f"{audio.block.hidden_size}; they must be equal"
        )
    if sound.window_frames != 2 * audio.max_source_positions:
        raise SpecError(
            f"sound gives {sound.window_frames} frames; the {audio.max_source_positions} positions "
            f"of the audio tower take {2 * audio.max_source_positions}"
        )
