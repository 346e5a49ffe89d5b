"""Arrays and files whose samples are no sound are refused by an error that names them."""

import re

import numpy as np
import pytest
import torch

from llm_compression.errors import InputError
from llm_compression.multimodal.audio.processor import AudioProcessor
from tests.multimodal.sounds import SAMPLES, SHORT, encoded
from tests.whisper_checkpoints import RATE

PROCESSOR = AudioProcessor(SHORT, 8)
NAN = "sound 7 holds NaN or infinite samples; repair or leave it out"


def refused(source: object, rate: int | None = RATE) -> str:
    """What the error says, which has to name the sound."""
    with pytest.raises(InputError, match=re.escape("sound 7")) as caught:
        list(PROCESSOR.windows(source, "sound 7", rate))
    return str(caught.value)


def holding(value: float, kind: str = "float32") -> np.ndarray:
    """Samples of which one is this."""
    samples = SAMPLES.astype(kind)
    samples[-1] = value
    return samples


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "longdouble"])
def test_a_sample_that_is_no_number(kind: str, value: float):
    samples = holding(value, kind)
    assert refused(samples) == NAN
    assert refused(np.stack([SAMPLES.astype(kind), samples])) == NAN
    assert refused({"array": samples, "sampling_rate": 8000}) == NAN


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_sample_of_torch_that_is_no_number(kind: torch.dtype, value: float):
    assert refused(torch.tensor(holding(value)).to(kind)) == NAN


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["wav float", "wav double", "aiff float"])
def test_a_file_with_a_sample_that_is_no_number(kind: str, value: float):
    assert refused(encoded(holding(value), kind)) == NAN
    assert refused(encoded(np.stack([SAMPLES, holding(value)], axis=1), kind)) == NAN


def test_infinities_that_cancel_each_other_out():
    both = np.stack([holding(np.inf), holding(-np.inf)], axis=1)
    for source in (both, both.astype(np.float64), torch.tensor(both), encoded(both, "wav float")):
        assert refused(source) == NAN


def test_a_number_that_signals():
    """Processors raise a flag at this kind of NaN, as misplaced bytes of a file often are."""
    samples = SAMPLES.copy()
    samples.view(np.uint32)[-1] = 0x7F800001
    stereo = np.stack([samples, samples], axis=1)
    for source in (samples, stereo, encoded(samples, "wav float"), encoded(stereo, "wav float")):
        assert refused(source) == NAN


def test_a_number_beyond_single_precision():
    samples = holding(1e300, "float64")
    for source in (samples, np.stack([samples, samples]), encoded(samples, "wav double")):
        refused(source)
    refused(encoded(np.stack([holding(3e38)] * 2, axis=1), "wav float"))


@pytest.mark.parametrize("value", [100.5, 30_000, -30_000, 1e38])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_floats_that_are_no_floats_of_sound(kind: str, value: float):
    message = f"sound 7 holds samples up to {abs(value):g}; floating-point samples lie in -1..1"
    assert refused(holding(value, kind)) == message
    assert refused(torch.tensor(holding(value, kind))) == message
    assert refused(encoded(holding(value), "wav float")) == message


def test_channels_of_such_floats_that_cancel_each_other_out():
    """Their mean is silence."""
    loud = 30_000 * SAMPLES
    stereo = np.stack([loud, -loud], axis=1)
    for source in (stereo, encoded(stereo, "wav float")):
        assert "floating-point samples lie in -1..1" in refused(source)


KINDS = ["complex64", "complex128", "bool", "int8", "int64", "uint16", "uint32", "uint64", "object",
         "S1", "M8[s]", "V4"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_another_kind(kind: str):
    array = np.zeros(800, kind)
    message = f"{array.dtype} samples; pass floats in -1..1, int16, int32 or uint8"
    assert refused(array) == f"sound 7 holds {message}"
    assert refused(array.reshape(400, 2)) == f"sound 7 holds {message}"


@pytest.mark.parametrize("kind", [torch.complex64, torch.bool, torch.int8, torch.int64])
def test_numbers_of_another_kind_of_torch(kind: torch.dtype):
    assert "samples; pass floats in -1..1" in refused(torch.zeros(800, dtype=kind))


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(9, device="meta"), torch.zeros(9).to_sparse(),
     torch.zeros(9, dtype=torch.complex64).conj()],
    ids=["meta", "sparse", "conjugate"],
)  # fmt: skip
def test_tensors_that_no_array_can_be_made_of(tensor: torch.Tensor):
    refused(tensor)


def test_an_object_that_no_array_can_be_made_of():
    class Broken:
        def __array__(self, *args: object, **options: object) -> np.ndarray:
            raise ValueError("no array")

    refused(Broken())


def test_bytes_that_do_not_lie_together():
    refused(memoryview(bytes(1000))[::2])


SHAPES = [(), (2, 2), (9, 9), (32, 32), (9, 10), (800, 9), (9, 800), (33, 34), (1, 2, 800),
          (2, 800, 1), (1, 1, 1), (1, 1, 2, 800)]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_axes_that_no_sound_has(shape: tuple[int, ...]):
    for array in (np.zeros(shape, np.float32), torch.zeros(shape)):
        assert refused(array).startswith(f"sound 7 has shape {shape}; a sound is (n,), or 2-D with")


@pytest.mark.parametrize("shape", [(0,), (0, 2), (2, 0), (0, 0), (1, 0), (0, 1)])
def test_without_a_sample(shape: tuple[int, ...]):
    for array in (np.zeros(shape, np.float32), torch.zeros(shape), np.zeros(shape, np.int16)):
        assert refused(array) == "sound 7 holds no samples; there is nothing to hear"
        assert refused(array, 44100) == "sound 7 holds no samples; there is nothing to hear"
