"""VisionEncoder: pictures to embeddings by the vision tower of any model."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, overload

import numpy as np
import torch

from llm_compression.cores import cores
from llm_compression.errors import InputError
from llm_compression.inference.bind import Tensors
from llm_compression.inference.compute import Compute
from llm_compression.inference.device import fetched
from llm_compression.inference.taps import Taps
from llm_compression.multimodal.batching import with_progress
from llm_compression.multimodal.encoded import Encoded
from llm_compression.multimodal.inputs import check_count, check_flags
from llm_compression.multimodal.pretrained import Device, ModelPath, Pretrained
from llm_compression.multimodal.skipped import (
    EncodedInputs,
    OnError,
    check_on_error,
    warn_of_skipped,
)
from llm_compression.multimodal.trainable import Trainable
from llm_compression.multimodal.vision.input import as_images, name_of
from llm_compression.multimodal.vision.model import VisionModel
from llm_compression.multimodal.vision.processor import ImageProcessor
from llm_compression.spec.tensors import vision_tensors

_AHEAD = 2  # batches whose pictures are decoded while the core works on another


class VisionEncoder(Pretrained):
    """The vision tower of an open model.

    A picture is a path, bytes, a PIL image, or a numpy or torch array; `open_rgb` says how each
    is read. Pictures are decoded and resized on other threads while the core works.

    Args:
        model_path: a weight table, a folder with ``model.parquet``, or an open `WeightLoader`.
        compute_dtype: what the core computes in: ``float32``, ``bfloat16``, ``float16`` (GPUs) or
            ``int8`` (the CPU).
        mapped: open the memory-mapped copy, made on first use; otherwise decode the Parquet file.
        verify: check every weight against its checksum, decoded or mapped.
        packed: on first use copy the weights into the order in which this processor reads them,
            and let the mapped ones go; otherwise compute on those in place, which is slower.
        device: ``cpu``, or a GPU as ``cuda`` or ``cuda:N``, where ``packed`` has no meaning.

    Raises:
        WeightTableError: a kind that says what is wrong with the file.
        InputError: the model has no vision tower, or an option cannot be.
    """

    def __init__(
        self,
        model_path: ModelPath,
        *,
        compute_dtype: str = "float32",
        mapped: bool = True,
        verify: bool = True,
        packed: bool = True,
        device: Device = "cpu",
    ) -> None:
        super().__init__(
            model_path,
            mapped=mapped,
            verify=verify,
            packed=packed,
            compute_dtype=compute_dtype,
            device=device,
        )
        vision = self.spec.vision
        names = vision_tensors(vision) if vision else ()
        self._model = VisionModel(self.spec, self._loader.load_weights(names), self._compute)
        self.processor = ImageProcessor(self._model.image)

    def get_embedding_dimension(self) -> int:
        """Width E of an embedding."""
        return self._model.spec.dimension

    @overload
    def encode(
        self,
        images: object,
        *,
        batch_size: int = ...,
        show_progress_bar: bool | None = ...,
        normalize_embeddings: bool = ...,
        on_error: Literal["raise"] = ...,
    ) -> np.ndarray: ...

    @overload
    def encode(
        self,
        images: object,
        *,
        batch_size: int = ...,
        show_progress_bar: bool | None = ...,
        normalize_embeddings: bool = ...,
        on_error: Literal["skip"],
    ) -> EncodedInputs: ...

    def encode(
        self,
        images: object,
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = False,
        on_error: OnError = "raise",
    ) -> np.ndarray | EncodedInputs:
        """Embeddings, projected where the model projects: (n, E), or (E,) for one picture.

        Args:
            images: a picture or a sequence of them.
            batch_size: pictures run together.
            show_progress_bar: None shows one for long work on a terminal.
            normalize_embeddings: scale each embedding to unit length.
            on_error: ``raise`` stops at the first picture that cannot be read; ``skip`` leaves
                such out, warns, and gives `EncodedInputs`, which names them.

        Raises:
            InputError: an input that is no picture, or an option out of range.
        """
        check_on_error(on_error)
        check_flags(normalize_embeddings=normalize_embeddings)
        skipped: dict[int, str] = {}
        found, indices = self._collect(
            images,
            lambda encoded: encoded.embedding,
            (self.get_embedding_dimension(),),
            batch_size,
            normalized=normalize_embeddings,
            show=show_progress_bar,
            skipped=skipped if on_error == "skip" else None,
        )
        if on_error == "skip":
            warn_of_skipped(skipped, len(skipped) + len(indices), "images")
            return EncodedInputs(found, indices, dict(sorted(skipped.items())))
        return found[0] if as_images(images)[1] else found

    def pooled(self, images: object, *, batch_size: int = 32) -> np.ndarray:
        """The class token after its norm, before projection: (n, D), or (D,) for one picture."""
        width = (self._model.spec.block.hidden_size,)
        found, _ = self._collect(images, lambda encoded: encoded.pooled, width, batch_size)
        return found[0] if as_images(images)[1] else found

    def sequence(self, images: object, *, batch_size: int = 32) -> np.ndarray:
        """The last hidden states, class token first: (n, P + 1, D), or (P + 1, D) for one."""
        shape = (self._model.spec.num_patches + 1, self._model.spec.block.hidden_size)
        found, _ = self._collect(images, _states, shape, batch_size, whole=True)
        return found[0] if as_images(images)[1] else found

    def trainable(self, train: str | Sequence[str] = ()) -> Trainable:
        """The tower for training: pictures in, `Encoded` out, of which gradients can be taken.

        ``train`` are patterns of weight names, see `Trainable`.
        """

        def bind(tensors: Tensors) -> Callable[[object], Encoded]:
            model = VisionModel(self.spec, tensors, Compute(gradients=True))
            return lambda images: model(torch.from_numpy(self.processor(images)), normalized=False)

        return Trainable(self._loader.load_weights(vision_tensors(self._model.spec)), bind, train)

    def taps(self, images: object) -> dict[str, np.ndarray]:
        """Every named intermediate of one batch, float32, as `validate` compares them.

        ``pixels`` is (B, C, S, S); ``embeddings``, ``pre_norm``, ``block.00.attn`` and so on are
        (B, P + 1, D); ``pooled`` is (B, D) and ``embedding`` (B, E).
        """
        pixels = self.processor(images)
        check_count(len(pixels), "the number of images")
        taps: Taps = {"pixels": torch.from_numpy(pixels)}
        self._model(taps["pixels"], normalized=False, taps=taps)
        return {name: fetched(value) for name, value in taps.items()}

    def _collect(
        self,
        images: object,
        pick: Callable[[Encoded], torch.Tensor],
        shape: tuple[int, ...],
        batch_size: int,
        *,
        normalized: bool = False,
        whole: bool = False,
        show: bool | None = None,
        skipped: dict[int, str] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n, *shape) of what ``pick`` takes from each batch, and the inputs' indices (n,).

        With ``skipped`` unreadable pictures go there, otherwise the first is an error.
        """
        check_count(batch_size, "batch_size")
        sources, _ = as_images(images)
        parts, kept = [np.empty((0, *shape), np.float32)], [np.empty(0, np.int64)]
        work = self._decoded(sources, batch_size, skipped)
        for batch in with_progress(work, len(sources), "image", show=show):
            rows = [(i, pixels) for i, pixels in batch if pixels is not None]
            if rows:
                stacked = torch.from_numpy(self.processor.stack([pixels for _, pixels in rows]))
                encoded = self._model(stacked, normalized=normalized, whole=whole)
                parts.append(fetched(pick(encoded)))
                kept.append(np.array([i for i, _ in rows]))
        return np.concatenate(parts), np.concatenate(kept)

    def _decoded(
        self, sources: Sequence[object], batch_size: int, skipped: dict[int, str] | None
    ) -> Iterator[list[tuple[int, np.ndarray | None]]]:
        """Batches of pixels in order, those to come decoded ahead; None where one is skipped."""

        def read(index: int) -> tuple[int, np.ndarray | None]:
            try:
                return index, self.processor.pixels(sources[index], name_of(sources[index], index))
            except InputError as error:
                if skipped is None:
                    raise
                skipped[index] = str(error)
                return index, None

        starts = range(0, len(sources), batch_size)
        with ThreadPoolExecutor(cores(), "decode") as pool:
            ahead: deque[list[Future[tuple[int, np.ndarray | None]]]] = deque()
            try:
                for start in starts:
                    stop = min(start + batch_size, len(sources))
                    ahead.append([pool.submit(read, i) for i in range(start, stop)])
                    if len(ahead) > _AHEAD:
                        yield [future.result() for future in ahead.popleft()]
                while ahead:
                    yield [future.result() for future in ahead.popleft()]
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _states(encoded: Encoded) -> torch.Tensor:
    """(B, P + 1, D)."""
    return encoded.sequences.padded(encoded.hidden)
