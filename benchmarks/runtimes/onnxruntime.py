"""onnxruntime on the exported graph; ``int8`` is its dynamic quantisation."""

from pathlib import Path

import numpy as np

from benchmarks.runtimes.feeding import feed
from benchmarks.runtimes.works import Run, Work

SUFFIX = {"float32": "", "int8": "-int8"}


def open_model(work: Work, kind: str, folder: Path) -> Run:
    """A session with its default threads, one for each core."""
    import onnxruntime

    path = folder / f"{work.graph}{SUFFIX[kind]}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(given: list[np.ndarray]) -> np.ndarray:
        found: np.ndarray = session.run(None, dict(zip(names, given, strict=True)))[0]
        return found

    return feed(work, folder, run)
