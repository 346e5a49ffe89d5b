"""transformers with its default attention, as its users call it."""

from pathlib import Path

import numpy as np

from benchmarks.programs import open_transformers
from benchmarks.runtimes.ours import opening
from benchmarks.runtimes.works import Form, Run, Work


def open_model(work: Work, kind: str, folder: Path) -> Run:
    """The reference modules in ``kind``, which is a torch type."""
    import torch

    from benchmarks.runtimes.modules import module

    if work.form is Form.OPENING:
        return opening(open_transformers, folder / work.model)
    network = module(work.model, folder).to(getattr(torch, kind))

    def run(given: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(given)
        with torch.inference_mode():
            y = network(x.to(getattr(torch, kind)) if x.is_floating_point() else x)
        found: np.ndarray = y.float().numpy()
        return found

    return run
