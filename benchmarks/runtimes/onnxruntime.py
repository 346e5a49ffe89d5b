"""onnxruntime on the exported graph; ``int8`` is its dynamic quantisation."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.runtimes.works import Work

Run = Callable[[np.ndarray], np.ndarray]
SUFFIX = {"float32": "", "int8": "-int8"}


def open_model(work: Work, kind: str, folder: Path) -> Run:
    """A session with its default threads, one for each core."""
    import onnxruntime

    path = folder / f"{work.model}{SUFFIX[kind]}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(given: np.ndarray) -> np.ndarray:
        found: np.ndarray = session.run(None, {name: given})[0]
        return found

    return run
