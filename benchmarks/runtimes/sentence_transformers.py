"""sentence-transformers by each of its backends, as its users call them.

The exported ones need releases that do not live beside ours, so this module runs in an environment
of their own and may import nothing else of the project that does not.
"""

from functools import partial
from pathlib import Path
from typing import Any, Literal

from benchmarks.runtimes.works import Run, Work

Backend = Literal["torch", "onnx", "openvino"]


def open_model(work: Work, kind: str, folder: Path, *, backend: Backend) -> Run:
    """One backend; OpenVINO computes in bfloat16 unless it is told to stay with float32."""
    from sentence_transformers import SentenceTransformer

    options: dict[str, Any] = {} if backend == "torch" else {"export": True}
    if backend == "openvino" and kind == "float32":
        options["ov_config"] = {"INFERENCE_PRECISION_HINT": "f32"}
    model = SentenceTransformer(
        str(folder / work.model), device="cpu", backend=backend, model_kwargs=options
    )
    return partial(model.encode, show_progress_bar=False)
