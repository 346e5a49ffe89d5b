"""CLIP in the folders of sentence-transformers: of its first releases, and as saved now."""

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from llm_compression import ArrowEngine, convert, export
from llm_compression.multimodal.vision.encoder import VisionEncoder
from tests.clip_checkpoints import pictures
from tests.conftest import write_json
from tests.conversion.checkpoints import read_tensors


def sentence_transformers_folder(clip: Path, folder: Path) -> Path:
    """The layout that sentence-transformers has had for CLIP since its release 1."""
    shutil.copytree(clip, folder / "0_CLIPModel")
    kind = "sentence_transformers.models.CLIPModel"
    write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "0_CLIPModel",
                                          "type": kind}])  # fmt: skip
    prompts = {"prompts": {"photo": "a photo of "}, "similarity_fn_name": "dot"}
    write_json(folder / "config_sentence_transformers.json", prompts)
    return folder


def test_a_folder_of_sentence_transformers(tiny_clip: Path, target: Path, tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    folder = sentence_transformers_folder(tiny_clip, tmp_path / "st")
    report = convert(folder, target)
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    engine, texts = ArrowEngine(target), ["a photo of a cat", "ship"]
    images = [Image.fromarray(picture) for picture in pictures()]
    np.testing.assert_allclose(engine.encode(texts), theirs.encode(texts), atol=2e-6)
    np.testing.assert_allclose(
        VisionEncoder(target).encode(images), theirs.encode(images), atol=2e-6
    )
    prompted = engine.encode(["a dog"], prompt_name="photo")
    np.testing.assert_allclose(prompted, theirs.encode(["a dog"], prompt_name="photo"), atol=2e-6)
    assert (report.notes, engine.similarity_fn_name) == ((), "dot")


def test_a_folder_of_sentence_transformers_comes_back(
    tiny_clip: Path, target: Path, tmp_path: Path
):
    folder = sentence_transformers_folder(tiny_clip, tmp_path / "st")
    convert(folder, target)
    back = export(target, tmp_path / "back")
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {str(p.relative_to(back)) for p in back.rglob("*") if p.is_file()} == files
    found, wanted = (read_tensors(top / "0_CLIPModel") for top in (back, folder))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_folder_that_sentence_transformers_saved(tiny_clip: Path, target: Path, tmp_path: Path):
    """Since its release 5.4 a CLIP is a plain Transformer that a file of its own describes."""
    from sentence_transformers import SentenceTransformer

    def opened(folder: Path) -> SentenceTransformer:
        return SentenceTransformer(str(folder), device="cpu", local_files_only=True)

    theirs = opened(tiny_clip)
    theirs.max_seq_length = 9
    theirs.save_pretrained(str(tmp_path / "saved"))
    convert(tmp_path / "saved", target)
    ours, again = ArrowEngine(target, truncation="ok"), opened(export(target, tmp_path / "back"))
    texts = ["a photo of a cat", "the red ship runs and the blue truck sits on the dog"]
    images = [Image.fromarray(picture) for picture in pictures()]
    assert ours.max_seq_length == again.max_seq_length == 9
    np.testing.assert_allclose(ours.encode(texts), theirs.encode(texts), atol=2e-6)
    np.testing.assert_array_equal(again.encode(texts), theirs.encode(texts))
    np.testing.assert_array_equal(again.encode(images), theirs.encode(images))
