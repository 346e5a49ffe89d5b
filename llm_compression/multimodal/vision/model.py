"""VisionModel: tower and projection; one batch of pixels to embeddings."""

import torch

from llm_compression.inference.bind import Tensors, check_tensors
from llm_compression.inference.compute import Compute
from llm_compression.inference.device import sent
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.taps import Taps
from llm_compression.multimodal.encoded import Encoded
from llm_compression.multimodal.head import Head, bind_head
from llm_compression.multimodal.inputs import no_tower
from llm_compression.multimodal.vision.tower import VisionTower, bind_vision_tower
from llm_compression.once import Once
from llm_compression.spec.image import ImageSpec
from llm_compression.spec.model import ModelSpec
from llm_compression.spec.tensors import vision_tensors
from llm_compression.spec.towers import VisionSpec


class VisionModel:
    """Runs one batch at a time.

    Args:
        spec: the model.
        tensors: those of the vision tower under canonical names, all of them and no other.
        compute: in which type, on which form of the weights; they are prepared on first use.

    Raises:
        InputError: the model has no vision tower.
        BindError: tensors and spec do not fit each other.
    """

    def __init__(self, spec: ModelSpec, tensors: Tensors, compute: Compute) -> None:
        self.spec, self.image = vision_parts(spec)
        check_tensors(tensors, vision_tensors(self.spec))
        self._compute = compute
        self._parts = Once(lambda: compute.prepared(self._bind, tensors))

    def _bind(self, tensors: Tensors) -> tuple[VisionTower, Head]:
        tower = bind_vision_tower(tensors, self.spec)
        return tower, bind_head(tensors, "vision", self.spec.projection_dim)

    def __call__(
        self,
        pixels: torch.Tensor,
        *,
        normalized: bool,
        taps: Taps | None = None,
        whole: bool = True,
    ) -> Encoded:
        """Run (B, C, S, S) pixels of the host; without ``whole`` only class tokens come of it.

        ``taps``, if given, gains ``embeddings``, ``pre_norm``, those of the core, ``pooled`` and
        ``embedding``.
        """
        with self._compute.mode():
            tower, head = self._parts()
            pixels = sent(pixels, self._compute.device).to(self._compute.dtype)
            hidden = tower(pixels, taps, whole=whole)  # (B, P + 1 or 1, D)
            sequences = Sequences.dense(*hidden.shape[:2])
            pooled, embedding = head(tower.pool(hidden), normalized=normalized, taps=taps)
            return Encoded(hidden.flatten(0, 1), sequences, pooled, embedding)


def vision_parts(spec: ModelSpec) -> tuple[VisionSpec, ImageSpec]:
    """What a spec says of images.

    Raises:
        InputError: the model has no vision tower.
    """
    if spec.vision is None or spec.image is None:
        raise no_tower(spec, "vision")
    return spec.vision, spec.image
