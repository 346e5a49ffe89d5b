"""The modalities of a memory, and the kinds of input that each is made from."""

from llm_compression.errors import InputError

KINDS = {"text": ("text",), "vision": ("image",), "audio": ("audio",), "clip": ("text", "image")}
MODALITIES = tuple(KINDS)


def check_modality(modality: object) -> None:
    """Refuse what is no modality.

    Raises:
        InputError: names those there are.
    """
    if not isinstance(modality, str) or modality not in KINDS:
        raise InputError(f"modality {modality!r} is not one of {', '.join(MODALITIES)}")
