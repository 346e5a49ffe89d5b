"""What embedding commands share: their options, and the engines that these describe."""

import argparse
from typing import TYPE_CHECKING

from llm_compression.errors import InputError
from llm_compression.spec.names import AUDIO_MODES, COMPUTE_DTYPES, TRUNCATIONS

if TYPE_CHECKING:
    from llm_compression.engine.arrow_engine import ArrowEngine
    from llm_compression.memory.identity import VectorIdentity
    from llm_compression.multimodal.audio.encoder import AudioEncoder
    from llm_compression.multimodal.vision.encoder import VisionEncoder


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what decides the numbers in a vector."""
    add_model_arguments(parser)
    parser.add_argument(
        "--max-seq-length", type=int, help="tokens of a text kept; default: the model's own"
    )
    parser.add_argument(
        "--truncation",
        default="warn",
        choices=TRUNCATIONS,
        help="warn of, refuse, or quietly cut longer texts",
    )
    parser.add_argument(
        "--deterministic", action="store_true", help="same bits for a text in any batch"
    )
    parser.add_argument("--truncate-dim", type=int, help="keep the first dimensions of a text only")
    normalize = parser.add_mutually_exclusive_group()
    normalize.add_argument(
        "--normalize",
        action="store_true",
        default=None,
        help="unit length; default: texts as the model says, images and sounds as they come",
    )
    normalize.add_argument(
        "--no-normalize", dest="normalize", action="store_false", help="leave lengths as they come"
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the model and how it is run."""
    parser.add_argument("model", help="weight table, checkpoint folder or hub id")
    parser.add_argument(
        "--compute-dtype",
        default="float32",
        choices=COMPUTE_DTYPES,
        help="what the core computes in; float16 on GPUs, int8 on the CPU alone",
    )
    add_device(parser)
    parser.add_argument(
        "--batch-size", type=int, help="inputs run together; default: 32, or 4 sounds"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare where the core computes."""
    parser.add_argument(
        "--device", default="cpu", help="cpu, or a GPU: cuda or cuda:N; default: cpu"
    )


def add_media_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare pictures and sounds as inputs."""
    media = parser.add_mutually_exclusive_group()
    media.add_argument("--images", nargs="+", metavar="PATH", help="image files or folders")
    media.add_argument("--audio", nargs="+", metavar="PATH", help="sound files or folders")
    add_on_error(parser)
    parser.add_argument(
        "--audio-mode",
        choices=AUDIO_MODES,
        help="exact runs the model's 30 s whatever the sound's length; fast runs what it needs: "
        "its vectors are close to exact ones but do not mix with them; default: exact",
    )
    parser.add_argument(
        "--window", type=float, help="seconds of sound in a vector, at most and by default 30"
    )
    parser.add_argument("--overlap", type=float, help="seconds that windows share; default: 0")


def add_on_error(parser: argparse.ArgumentParser) -> None:
    """Declare what becomes of a file that cannot be read."""
    parser.add_argument(
        "--on-error",
        default="raise",
        choices=("raise", "skip"),
        help="stop at a file that cannot be read, or leave it out and say so",
    )


def open_engine(arguments: argparse.Namespace) -> "ArrowEngine":
    """The engine that the arguments describe."""
    from llm_compression.engine.arrow_engine import ArrowEngine

    return ArrowEngine.from_pretrained(
        arguments.model,
        compute_dtype=arguments.compute_dtype,
        device=arguments.device,
        max_seq_length=arguments.max_seq_length,
        truncation=arguments.truncation,
        deterministic=arguments.deterministic,
    )


def open_vision(arguments: argparse.Namespace) -> "VisionEncoder":
    """The vision encoder that the arguments describe."""
    from llm_compression.multimodal.vision.encoder import VisionEncoder

    return VisionEncoder.from_pretrained(
        arguments.model, compute_dtype=arguments.compute_dtype, device=arguments.device
    )


def open_audio(
    arguments: argparse.Namespace, stored: "VectorIdentity | None" = None
) -> "AudioEncoder":
    """The audio encoder that the arguments describe; what they leave open is as in ``stored``."""
    from llm_compression.multimodal.audio.encoder import AudioEncoder

    options = {"mode": arguments.audio_mode, "window": arguments.window,
               "overlap": arguments.overlap}  # fmt: skip
    if stored is not None:
        like = {"mode": stored.audio_mode, "window": stored.window, "overlap": stored.overlap}
        options = {name: like[name] if v is None else v for name, v in options.items()}
    given = {name: value for name, value in options.items() if value is not None}
    return AudioEncoder.from_pretrained(
        arguments.model,
        compute_dtype=arguments.compute_dtype,
        device=arguments.device,
        **given,
    )


def only_for_texts(arguments: argparse.Namespace, option: str) -> None:
    """Refuse what only texts have beside ``option``, ``--images`` or ``--audio``.

    Raises:
        InputError: names it.
    """
    given = [
        n for n in ("max_seq_length", "truncate_dim", "deterministic") if getattr(arguments, n)
    ]
    if arguments.truncation != "warn":
        given.append("truncation")
    if given:
        raise InputError(f"--{given[0].replace('_', '-')} is for texts, not for {option}")


def only_for_sounds(arguments: argparse.Namespace) -> None:
    """Refuse what only sounds have.

    Raises:
        InputError: names it.
    """
    for name in ("audio_mode", "window", "overlap"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} is for sounds; give --audio")
