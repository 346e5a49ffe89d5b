"""A converted Whisper carries the files that transformers needs, and exports what it was."""

import shutil
from pathlib import Path

import pytest
import torch

from llm_compression import convert, export
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import FileRole
from tests.conftest import write_json
from tests.conversion.checkpoints import bits, read_tensors
from tests.conversion.test_whisper import FULL, encoder_of
from tests.whisper_checkpoints import ARCHITECTURES, WhisperFactory

TOKENIZER_FILES = ["added_tokens.json", "merges.txt", "normalizer.json", "special_tokens_map.json",
                   "tokenizer.json", "tokenizer_config.json", "vocab.json"]  # fmt: skip
OWN_FILES = ["config.json", "preprocessor_config.json"]


@pytest.fixture
def whisper(tiny_whisper: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Whisper, with the files of a tokenizer."""
    folder: Path = shutil.copytree(tiny_whisper, tmp_path / "whisper")
    for name in TOKENIZER_FILES:
        write_json(folder / name, {"this is": name})
    return folder


def logits(folder: Path) -> torch.Tensor:
    """What transformers says of some frames and tokens."""
    from transformers import WhisperForConditionalGeneration

    frames = torch.randn(2, 8, 200, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[3, 7, 8, 9], [3, 9, 9, 2]])
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(input_features=frames.to(model.dtype), decoder_input_ids=ids).logits


def heard(folder: Path) -> torch.Tensor:
    """What transformers' encoder makes of some frames."""
    from transformers import WhisperModel

    frames = torch.randn(2, 8, 200, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return WhisperModel.from_pretrained(folder).encoder.eval()(frames).last_hidden_state


def files(target: Path) -> dict[str, bytes]:
    table = WeightTable(target)
    assert {file.role for file in table.manifest.files} == {FileRole.SOURCE}
    return {file.name: table.read_file(file.name) for file in table.manifest.files}


def test_the_attached_files(whisper: Path, target: Path):
    convert(whisper, target)
    assert files(target) == {name: (whisper / name).read_bytes() for name in OWN_FILES}


def test_the_files_that_a_decoder_needs(whisper: Path, target: Path):
    convert(whisper, target, keep_decoder=True)
    names = [*OWN_FILES, "generation_config.json", *TOKENIZER_FILES]
    assert files(target) == {name: (whisper / name).read_bytes() for name in names}


def test_an_export_is_the_checkpoint_again(whisper: Path, target: Path, tmp_path: Path):
    convert(whisper, target, keep_decoder=True)
    back = export(target, tmp_path / "back")
    ours, theirs = read_tensors(back), read_tensors(whisper)
    assert ours.keys() == theirs.keys()
    assert all(bits(ours[name]) == bits(theirs[name]) for name in theirs)
    beside = {path.name for path in whisper.iterdir()} - {"model.safetensors"}
    assert {path.name for path in back.iterdir()} == beside | {"model.safetensors"}
    assert all((back / name).read_bytes() == (whisper / name).read_bytes() for name in beside)


@pytest.mark.parametrize("architecture", [FULL, "WhisperModel"])
def test_an_export_says_the_same(
    architecture: str, make_whisper: WhisperFactory, target: Path, tmp_path: Path
):
    folder = make_whisper(architecture)
    convert(folder, target, keep_decoder=True)
    ours, theirs = logits(export(target, tmp_path / "back")), logits(folder)
    assert torch.equal(ours, theirs)
    assert theirs.std() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_export_in_half_precision_says_the_same(
    dtype: torch.dtype, make_whisper: WhisperFactory, target: Path, tmp_path: Path
):
    folder = make_whisper(dtype=dtype)
    convert(folder, target, keep_decoder=True)
    assert torch.equal(logits(export(target, tmp_path / "back")), logits(folder))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_export_without_a_decoder_hears_the_same(
    architecture: str, make_whisper: WhisperFactory, target: Path, tmp_path: Path
):
    folder = make_whisper(architecture)
    convert(folder, target)
    back = export(target, tmp_path / "back")
    assert read_tensors(back).keys() == encoder_of(folder).keys()
    assert torch.equal(heard(back), heard(folder))


@pytest.mark.parametrize("keep", [False, True])
def test_there_and_back_again_is_the_same_model(
    keep: bool, whisper: Path, target: Path, tmp_path: Path
):
    there = convert(whisper, target, keep_decoder=keep)
    back = export(target, tmp_path / "back")
    assert convert(back, target, keep_decoder=keep).fingerprint == there.fingerprint
