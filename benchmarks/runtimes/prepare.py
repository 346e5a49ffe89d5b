"""Prepare a folder with every model in every form: checkpoint, weight table, exported graphs."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.case import ASSETS, MINILM, Case
from benchmarks.embed import sentences
from benchmarks.runtimes import works
from benchmarks.runtimes.modules import export, frames
from benchmarks.runtimes.works import CAPTIONS, Form, Work, keep_inputs
from benchmarks.whisper import sounds, whisper_case
from llm_compression import convert


def prepare(
    folder: Path, chosen: Sequence[Work], *, quick: bool, exported: bool = True
) -> dict[str, str]:
    """Make what is absent and say what each model's weights and the captions are.

    Without ``exported`` the graphs of other runtimes are left out.
    """
    os.environ["LLM_COMPRESSION_CACHE"] = str(folder / "cache")
    made = {works.MINILM: _minilm, works.VIT: _vit, works.WHISPER: _whisper}
    models = sorted({work.model for work in chosen})
    what = {model: made[model](folder) for model in models}
    run = [work for work in chosen if exported and work.form is not Form.OPENING]
    for graph in sorted({work.graph for work in run}):
        if not (folder / f"{graph}.onnx").exists():
            export(graph, folder)
    captions, source = sentences(100 if quick else None)
    keep_inputs(folder, captions=captions, traffic=1 if quick else 10)
    return {**what, CAPTIONS.name: f"{len(captions):,} {source}"}


def _minilm(folder: Path) -> str:
    _link(MINILM, folder / works.MINILM)
    _convert(folder, works.MINILM)
    return "all-MiniLM-L6-v2"


def _whisper(folder: Path) -> str:
    case, what = whisper_case(Case(folder, folder, folder, quick=True))
    _link(case.checkpoint, folder / works.WHISPER)
    keep_inputs(folder, frames=frames(sounds().samples[30], case.table))
    return what


def _vit(folder: Path) -> str:
    """CLIP ViT-B/32, whose weights are nowhere to be had here, at random ones of a fixed seed."""
    checkpoint = folder / works.VIT
    if not checkpoint.exists():
        import torch
        from transformers import CLIPConfig, CLIPModel

        torch.manual_seed(0)
        source = ASSETS / "clip-vit-base-patch32"
        CLIPModel(CLIPConfig.from_pretrained(source)).save_pretrained(checkpoint)
        for name in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(source / name, checkpoint)
    _convert(folder, works.VIT)
    return "CLIP ViT-B/32 with random weights"


def _convert(folder: Path, model: str) -> None:
    if not (folder / f"{model}.parquet").exists():
        convert(folder / model, folder / f"{model}.parquet")


def _link(source: Path, target: Path) -> None:
    if not target.exists():
        target.symlink_to(source.resolve())
