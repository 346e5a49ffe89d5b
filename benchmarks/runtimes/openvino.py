"""OpenVINO on the exported graph, with the precision stated: its default computes in bfloat16."""

from pathlib import Path

import numpy as np

from benchmarks.runtimes.feeding import feed
from benchmarks.runtimes.works import Run, Work

HINTS = {"float32": "f32", "bfloat16": "bf16"}


def open_model(work: Work, kind: str, folder: Path) -> Run:
    """A compiled model for latency: one stream on all cores."""
    import openvino

    options = {"INFERENCE_PRECISION_HINT": HINTS[kind], "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.compile_model(folder / f"{work.graph}.onnx", "CPU", options)
    request = compiled.create_infer_request()

    def run(given: list[np.ndarray]) -> np.ndarray:
        found: np.ndarray = request.infer(given)[0].copy()
        return found

    return feed(work, folder, run)
