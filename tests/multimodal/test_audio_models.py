"""Which models hear: the others are refused with advice, by every engine and encoder."""

from pathlib import Path

import pytest

from llm_compression import ArrowEngine, AudioEncoder, CLIPEngine, TextEncoder, VisionEncoder
from llm_compression.errors import InputError
from llm_compression.multimodal.pretrained import Pretrained


@pytest.mark.parametrize("model", ["tiny_bert", "tiny_table", "tiny_clip", "tiny_clip_table"])
def test_a_model_that_does_not_hear(model: str, request: pytest.FixtureRequest):
    message = "the model has no audio tower; convert a Whisper checkpoint to embed sounds"
    path = request.getfixturevalue(model)
    with pytest.raises(InputError, match=message):
        AudioEncoder.from_pretrained(path)


@pytest.mark.parametrize("kind", [TextEncoder, ArrowEngine, VisionEncoder, CLIPEngine])
def test_a_model_that_hears_alone(
    kind: type[Pretrained], tiny_whisper: Path, tiny_whisper_table: Path
):
    """Its advice is the class that opens this model, not one that would refuse it as well."""
    for path in (tiny_whisper, tiny_whisper_table):
        with pytest.raises(InputError, match=r"has no (text|vision) tower") as caught:
            kind.from_pretrained(path)
        assert "sounds only; open it as an AudioEncoder" in str(caught.value)
